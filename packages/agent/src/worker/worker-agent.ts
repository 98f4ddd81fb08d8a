import { hostname } from 'node:os';
import { newIdentity, subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { brokerPlace, natsBus } from '../bus.ts';
import { interfaceTowards, resolveLeader } from '../host.ts';
import { type AgentAdvert, LEASE_TTL_MS } from '../leases.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { NodeOptions } from '../node-options.ts';
import { RankSupervisor } from '../rank/rank-supervisor.ts';
import { untilAbort } from '../until-aborted.ts';
import { Waiting } from '../waiting.ts';

/** A pod that is not the leader: finds the leader, joins, and keeps a rank process at its service until told to stop. */
export async function runWorkerAgent(
  place: GroupPlace,
  options: NodeOptions,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const leader = await resolveLeader(place.leaderAddress, { logger, signal });
  const natsUrl = options.natsUrl ?? `nats://${leader.includes(':') ? `[${leader}]` : leader}:${options.natsPort}`;
  const identity = newIdentity(`${place.group}-${place.workerIndex}`);
  using waiting = new Waiting(logger, `the leader of ${place.group} at ${brokerPlace(natsUrl)}`);
  await using bus = await natsBus(natsUrl, {
    identity,
    groupKey: options.groupKey,
    logger,
    deadlineMs: Infinity,
    signal,
    onWaiting: (reason) => {
      waiting.detail = reason;
    },
  });
  waiting[Symbol.dispose]();

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
