import { hostname } from 'node:os';
import { hostActor } from '@skein/actor';
import { loadNative } from '@skein/native';
import { newIdentity, type RankAdvert, SkeinError, type StepPlan, type StepResult, subjects } from '@skein/protocol';
import { createLogger } from '@skein/telemetry';
import { directBus, natsBus } from '../bus.ts';
import { hostId } from '../host.ts';
import { LEASE_TTL_MS } from '../leases.ts';
import { DirectLink } from './direct-link.ts';
import { PlanReceiver } from './plan-receiver.ts';
import { RankActor } from './rank-actor.ts';
import { type RankProcessInit, rankInitSchema } from './rank-init.ts';
import { StageRunner } from './stage-runner.ts';

/** Entry of a rank process. It is told what it is by its agent, over the IPC channel, and ends with that channel. */
process.on('disconnect', () => process.exit(0));
process.once('message', (message) => {
  main(rankInitSchema.parse(message)).catch((error: unknown) => {
    process.send?.({ failed: { code: error instanceof SkeinError ? error.code : 'ERR_INTERNAL', message: error instanceof Error ? error.message : String(error) } });
    process.exit(1);
  });
});

async function main(init: RankProcessInit): Promise<void> {
  const identity = newIdentity(init.name);
  const logger = createLogger({ level: init.logLevel, format: init.logFormat }).child({ rank: init.name });
  const { groupKey, group } = init;
  const main = 'natsUrl' in init.bus ? await natsBus(init.bus.natsUrl, { identity, groupKey, logger }) : await directBus(init.bus.hub, { identity, groupKey, logger });
  const runner = new StageRunner(loadNative(), init);
  const link = new DirectLink((address) => ('natsUrl' in init.bus ? directBus(address, { identity, groupKey, logger }) : Promise.resolve(main)));
  let stage = 0;
  let isLast = true;
  let receiver: PlanReceiver | null = null;

  hostActor(main, subjects.rankActor(init.group, init.workerIndex), RankActor, {
    load: (request) => {
      stage = request.stage;
      isLast = request.stage === request.stages - 1;
      return runner.load(request);
    },
    openReceive: async ({ channels }) => runner.openReceive(channels),
    openSend: async ({ channels }) => {
      await runner.openSend(channels);
      return null;
    },
    begin: async ({ epoch, direct }) => {
      const bus = await link.to(direct);
      runner.begin();
      receiver?.[Symbol.dispose]();
      receiver = new PlanReceiver({ main, direct: bus, group, epoch, execute: (plan) => execute(runner, plan, isLast, stage) });
      return null;
    },
    abort: async ({ reason }) => {
      receiver?.[Symbol.dispose]();
      receiver = null;
      runner.abort(reason);
      return null;
    },
    status: async () => runner.status(),
    // A load may take minutes, and an abort must reach a rank that is busy.
  }, { concurrent: ['status', 'abort'] });

  const advert: RankAdvert = {
    workerIndex: init.workerIndex,
    pid: process.pid,
    hostId: hostId(),
    host: hostname(),
    revision: init.revision,
    instructionLevel: runner.device.instructionLevel,
    device: runner.device.backend,
    threads: runner.device.threads,
    ucxUnavailable: runner.ucxUnavailable,
  };
  main.announce(`${subjects.ranks(init.group)}.${init.workerIndex}`, advert, { ttlMs: LEASE_TTL_MS });
  process.send?.({ started: identity });
  logger.debug({ pid: process.pid }, 'the rank has joined');
}

/** Runs a plan; the last stage answers with the output, any stage with its failure. */
async function execute(runner: StageRunner, plan: StepPlan, isLast: boolean, stage: number): Promise<StepResult | null> {
  const { epoch, step } = plan;
  try {
    const bytes = plan.input.byteLength % 4 === 0 ? plan.input.slice() : new Uint8Array(0);
    const { words, computeUs, waitUs } = await runner.run(new Int32Array(bytes.buffer, 0, bytes.byteLength / 4), plan.deadlineMs);
    if (!isLast) return null;
    return { epoch, step, stage, computeUs, waitUs, output: new Uint8Array(words.buffer, words.byteOffset, words.byteLength), error: null };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'ERR_INTERNAL';
    return { epoch, step, stage, computeUs: 0, waitUs: 0, output: null, error: { code, message: error instanceof Error ? error.message : String(error) } };
  }
}
