import { hostname } from 'node:os';
import { hostActor } from '@skein/actor';
import { loadNative, type WeightCacheUse } from '@skein/native';
import { newIdentity, type RankAdvert, SkeinError, subjects } from '@skein/protocol';
import { createLogger } from '@skein/telemetry';
import { directBus, natsBus } from '../bus.ts';
import { hostId } from '../host.ts';
import { LEASE_TTL_MS } from '../leases.ts';
import { DirectLink } from './direct-link.ts';
import { hostMemory } from './host-memory.ts';
import { RankActor, rankSubject } from './rank-actor.ts';
import { type RankProcessInit, rankInitSchema } from './rank-init.ts';
import { rankService } from './rank-service.ts';
import { StageRunner } from './stage-runner.ts';

const ALIVE_MS = 500;

/** Entry of a rank process. It is told what it is by its agent, over the IPC channel, and ends with that channel. */
process.on('disconnect', () => process.exit(0));
process.once('message', (message) => {
  main(rankInitSchema.parse(message)).catch((error: unknown) => {
    process.send?.({
      failed: {
        code: error instanceof SkeinError ? error.code : 'ERR_INTERNAL',
        message: error instanceof Error ? error.message : String(error),
      },
    });
    process.exit(1);
  });
});

/** Tells the agent again and again that this process still runs its event loop. */
function reportAlive(): void {
  let underWay = false;
  setInterval(() => {
    // An agent that is slow to read gets no pile of these.
    if (underWay) return;
    underWay = true;
    process.send?.({ alive: true }, () => {
      underWay = false;
    });
  }, ALIVE_MS);
}

async function main(init: RankProcessInit): Promise<void> {
  const identity = newIdentity(init.name);
  const logger = createLogger({ level: init.logLevel, format: init.logFormat }).child({ rank: init.name });
  const { groupKey, group } = init;
  const about = { identity, groupKey, logger };
  const main = 'natsUrl' in init.bus ? await natsBus(init.bus.natsUrl, about) : await directBus(init.bus.hub, about);
  const { threads, network } = init;
  const onStuck = (error: SkeinError): void => {
    logger.error({ code: error.code }, `${error.message}; ending this process, another takes its place`);
    // The leader gets its answer first.
    setTimeout(() => process.exit(1), 100);
  };
  const onWeightCache = ({ path, read, written, problem }: WeightCacheUse): void => {
    if (problem !== null) logger.warn({ path, written }, problem);
    else logger.info({ path }, read ? 'read the packed weights' : 'wrote the packed weights');
  };
  const runner = new StageRunner(loadNative(), { threads, network, logger, onStuck, onWeightCache });
  const link = new DirectLink((address) => ('natsUrl' in init.bus ? directBus(address, about) : Promise.resolve(main)));
  const service = rankService({ main, link, group, runner });
  // A load may take minutes, and an abort must reach a rank that is busy.
  hostActor(main, rankSubject(group, init.rankIndex, identity), RankActor, service, {
    concurrent: ['status', 'abort'],
  });

  const advert: RankAdvert = {
    workerIndex: init.workerIndex,
    rankIndex: init.rankIndex,
    pid: process.pid,
    hostId: hostId(),
    host: hostname(),
    revision: init.revision,
    instructionLevel: runner.device.instructionLevel,
    device: runner.device.backend,
    threads: runner.device.threads,
    memoryBytes: hostMemory().totalBytes,
    ucxUnavailable: runner.ucxUnavailable,
  };
  main.announce(`${subjects.ranks(group)}.${init.rankIndex}.${identity.incarnation}`, advert, {
    ttlMs: LEASE_TTL_MS,
  });
  process.send?.({ started: identity });
  reportAlive();
  logger.debug({ pid: process.pid }, 'the rank has joined');
}
