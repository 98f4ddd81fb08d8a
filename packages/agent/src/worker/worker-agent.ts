import { checkCheckpoint, readCheckpointTensors, readModel } from '@skein/models';
import { newIdentity } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { brokerPlace, natsBus } from '../bus.ts';
import { interfaceTowards, resolveLeader } from '../host.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { NodeOptions } from '../node-options.ts';
import { AgentRanks } from '../rank/agent-ranks.ts';
import { untilAbort } from '../until-aborted.ts';

/** A pod that is not the leader: finds the leader, joins, and keeps its rank processes at its service until told to stop. */
export async function runWorkerAgent(
  place: GroupPlace,
  options: NodeOptions,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  // The leader names the folder; one that is broken here is found out before anyone waits for this rank.
  checkCheckpoint({ model: await readModel(options.model), tensors: await readCheckpointTensors(options.model) });
  const leader = await resolveLeader(place.leaderAddress, { logger, signal });
  const natsUrl = options.natsUrl ?? `nats://${leader.includes(':') ? `[${leader}]` : leader}:${options.natsPort}`;
  const identity = newIdentity(`${place.group}-${place.workerIndex}`);
  await using bus = await natsBus(natsUrl, {
    identity,
    groupKey: options.groupKey,
    logger,
    waitingFor: `the leader of ${place.group} at ${brokerPlace(natsUrl)}`,
    signal,
  });

  const ranks = new AgentRanks({
    place,
    options,
    bus,
    rankBus: { natsUrl },
    interfaceName: await interfaceTowards(leader),
    logger,
  });
  await untilAbort(signal);
  await ranks.close();
}
