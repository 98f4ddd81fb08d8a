import { hostname } from 'node:os';
import { checkCheckpoint, readCheckpointTensors, readModel } from '@skein/models';
import { newIdentity, subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { brokerPlace, natsBus } from '../bus.ts';
import { interfaceTowards, resolveLeader } from '../host.ts';
import { type AgentAdvert, LEASE_TTL_MS } from '../leases.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { NodeOptions } from '../node-options.ts';
import { RankSupervisor } from '../rank/rank-supervisor.ts';
import { untilAbort } from '../until-aborted.ts';

/** A pod that is not the leader: finds the leader, joins, and keeps a rank process at its service until told to stop. */
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

  const advert = (rank: AgentAdvert['rank']): AgentAdvert => ({
    workerIndex: place.workerIndex,
    host: hostname(),
    pid: process.pid,
    rank,
  });
  const lease = bus.announce(`${subjects.agents(place.group)}.${place.workerIndex}`, advert(null), {
    ttlMs: LEASE_TTL_MS,
  });
  const supervisor = new RankSupervisor(
    {
      name: `${identity.name}/0`,
      group: place.group,
      workerIndex: place.workerIndex,
      revision: options.revision,
      bus: { natsUrl },
      groupKey: options.groupKey,
      threads: options.threads,
      interfaceName: await interfaceTowards(leader),
      logLevel: options.logLevel,
      logFormat: options.logFormat,
    },
    { logger, onChange: (rank) => lease.update(advert(rank)) },
  );
  await untilAbort(signal);
  lease.close();
  await supervisor.close();
}
