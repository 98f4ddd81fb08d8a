import { checkCheckpoint, readCheckpointTensors, readModel } from '@skein/models';
import { newIdentity } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { brokerPlace, natsBus } from '../bus.ts';
import { natsUrlOf, resolveLeader } from '../host.ts';
import type { GroupPlace } from '../lws-environment.ts';
import { hostInterface } from '../network/host-network.ts';
import { warnIfUnreachable } from '../network/reach-leader.ts';
import type { NodeOptions } from '../node-options.ts';
import { servePreflight } from '../preflight/preflight-service.ts';
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
  const chosen = await hostInterface(leader, options.interfaces);
  logger.info(
    { interface: chosen?.name ?? null, address: chosen?.address ?? null, why: chosen?.why },
    'chose the interface',
  );
  if (options.natsUrl === null) warnIfUnreachable({ address: leader, port: options.natsPort }, logger);
  const natsUrl = options.natsUrl ?? natsUrlOf(leader, options.natsPort);
  const identity = newIdentity(`${place.group}-${place.workerIndex}`);
  await using bus = await natsBus(natsUrl, {
    identity,
    groupKey: options.groupKey,
    logger,
    waitingFor: `the leader of ${place.group} at ${brokerPlace(natsUrl)}`,
    signal,
  });

  const { group, workerIndex } = place;
  // Before the agent is announced: whoever sees it may ask.
  using _preflight = servePreflight(bus, { group, workerIndex, groupKey: options.groupKey, chosen });
  const ranks = new AgentRanks({
    place,
    options,
    bus,
    rankBus: { natsUrl },
    chosen,
    logger,
  });
  await untilAbort(signal);
  await ranks.close();
}
