import { setTimeout as delay } from 'node:timers/promises';
import { hostActor } from '@skein/actor';
import { Engine, engineConfig } from '@skein/engine';
import { type Lease, type LocalHub, type MessageBus, startLocalHub } from '@skein/message-bus';
import { type Identity, newIdentity, type RankAdvert, subjects } from '@skein/protocol';
import { silentLogger } from '@skein/telemetry';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Preflight } from '../preflight/preflight.ts';
import { layoutText } from '../group-shape.ts';
import { DirectLink } from '../rank/direct-link.ts';
import { RankActor, rankSubject } from '../rank/rank-actor.ts';
import { rankService, type RankServiceOptions } from '../rank/rank-service.ts';
import { formationInput } from '../testing/llama-config.ts';
import { JOINING } from '../testing/rank-status.ts';
import { outputBytes } from '../testing/step-words.ts';
import type { FormationInput } from './formation-plan.ts';
import { Formation } from './formation.ts';

type Runner = RankServiceOptions['runner'];
const TWO_STAGES = { ...formationInput.shape, stages: 2 };
let hub: LocalHub;
let leader: MessageBus;
let engine: Engine;
let stop: AbortController;
let running: Promise<void>;
let othersLoaded = '';

beforeEach(async () => {
  hub = await startLocalHub({ listen: null, groupKey: null });
  leader = hub.connect(newIdentity('g'));
  stop = new AbortController();
  engine = new Engine(engineConfig({}));
  running = Promise.resolve();
  othersLoaded = '';
});

afterEach(async () => {
  stop.abort();
  await running;
  engine.close();
  await hub.close();
});

function lead(shape = formationInput.shape, change: Partial<FormationInput> = {}): Formation {
  const formation = new Formation({
    main: leader,
    direct: leader,
    directAddress: { host: '127.0.0.1', port: 9 },
    group: 'g',
    groupSize: 1,
    preflight: new Preflight(leader, { group: 'g', brokerPort: null, logger: silentLogger }),
    stepDeadlineMs: 1000,
    input: { ...formationInput, shape, ...change },
    replicas: [{ index: 0, engine }],
    fingerprintOfOthers: () => othersLoaded,
    logger: silentLogger,
    onFormed: () => {},
  });
  running = formation.run(stop.signal);
  return formation;
}

/** A rank process of the leader's own, without a model. */
function startRank(rankIndex: number, change: Partial<Runner> = {}, hostId = 'h'): MessageBus {
  const bus = hub.connect(newIdentity(`g-0/${rankIndex}`));
  const { identity } = bus;
  const runner: Runner = {
    load: async () => ({ fingerprint: 'f', weightBytes: 0, kvCacheBytes: 0, bufferBytes: 0, availableBytes: 0 }),
    openReceive: () => [],
    openSend: async () => {},
    begin: async () => {},
    run: () => new Promise(() => {}),
    abort: () => {},
    status: () => JOINING,
    ...change,
  };
  const service = rankService({ main: bus, link: new DirectLink(async () => bus), group: 'g', runner });
  hostActor(bus, rankSubject('g', rankIndex, identity), RankActor, service, { concurrent: ['status', 'abort'] });
  const advert: RankAdvert = {
    workerIndex: 0,
    rankIndex,
    pid: 7,
    hostId,
    host: 'h',
    revision: '1',
    instructionLevel: 'AVX2',
    device: 'cpu',
    threads: 1,
    memoryBytes: 2 ** 34,
    ucxUnavailable: null,
  };
  bus.announce(`${subjects.ranks('g')}.${rankIndex}.${identity.incarnation}`, advert, { ttlMs: 3000 });
  return bus;
}

/** Tells that the leader's agent has these ranks. */
function announce(ranks: readonly MessageBus[], shape = formationInput.shape): Lease {
  const value = {
    workerIndex: 0,
    host: 'h',
    pid: 1,
    layout: layoutText(shape, 1),
    ranks: ranks.map(({ identity }) => identity),
  };
  return leader.announce(`${subjects.agents('g')}.0`, value, { ttlMs: 3000 });
}

function join(change: Partial<Runner> = {}): { readonly identity: Identity; leave(): void } {
  const bus = startRank(0, change);
  const lease = announce([bus]);
  return {
    identity: bus.identity,
    leave: () => {
      lease.close();
      void bus.close();
    },
  };
}

test('forms the group as soon as it is complete, and again with the next rank process', async () => {
  const formation = lead();
  const first = join();
  await expect.poll(() => formation.current.state).toBe('ready');
  expect(engine.stats().state).toBe('serving');
  first.leave();
  await expect
    .poll(() => formation.current)
    .toMatchObject({ state: 'lost', detail: 'worker 0 (rank g-0/0, pid 7) is gone' });
  await expect.poll(() => engine.stats().state).toBe('waiting-for-executor');
  join();
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 2 });
});

test('a rank lost while it loads ends the attempt at once', async () => {
  const formation = lead();
  let loading = false;
  const first = join({
    load: () => {
      loading = true;
      return new Promise(() => {});
    },
  });
  await expect.poll(() => loading).toBe(true);
  first.leave();
  await expect.poll(() => formation.current.state).toBe('lost');
  join();
  await expect.poll(() => formation.current.state).toBe('ready');
});

test('a rank that refuses is asked again at growing intervals, and its reason is shown', async () => {
  const formation = lead();
  const askedAtMs: number[] = [];
  join({
    load: async () => {
      askedAtMs.push(performance.now());
      throw new Error('no such file');
    },
  });
  await expect.poll(() => askedAtMs.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(3);
  await expect.poll(() => formation.current).toMatchObject({ state: 'lost', detail: 'worker 0: no such file' });
  // Pauses of 100 and 300 ms at least; a timer may be a millisecond early.
  const [first = 0, second = 0, third = 0] = askedAtMs;
  expect(second - first).toBeGreaterThan(98);
  expect(third - second).toBeGreaterThan(298);
});

test('a new leader goes on after the epoch that the ranks know', async () => {
  lead();
  const aborted: string[] = [];
  const { identity } = join({ abort: (reason) => void aborted.push(reason) });
  await expect.poll(() => aborted).toEqual(['epoch 1 begins']);
  const rank = RankActor.handle(leader, rankSubject('g', 0, identity));
  await rank.abort.remote({ epoch: 41, reason: 'another leader was here' });
  stop.abort();
  await running;
  expect(await rank.status.remote({})).toMatchObject({ epoch: 41 });
  engine.close();
  engine = new Engine(engineConfig({}));
  stop = new AbortController();
  const again = lead();
  await expect.poll(() => again.current).toMatchObject({ state: 'ready', epoch: 42 });
});

test('ranks that loaded different models are refused with both, and until then the wait says who is missing', async () => {
  const formation = lead(TWO_STAGES);
  expect(formation.current).toMatchObject({ state: 'waiting', detail: 'missing worker 0 rank 0, worker 0 rank 1' });
  const loading = (fingerprint: string): Partial<Runner> => ({
    load: async () => ({ fingerprint, weightBytes: 0, kvCacheBytes: 0, bufferBytes: 0, availableBytes: 0 }),
  });
  announce([startRank(0, loading('sha256:a')), startRank(1, loading('sha256:b'))], TWO_STAGES);
  await expect.poll(() => formation.current.state).toBe('lost');
  expect(formation.current.detail).toBe(
    'worker 0 has model sha256:b, worker 0 has sha256:a; give every agent the same files',
  );
});

test('a replica with another model than the others is refused with both', async () => {
  othersLoaded = 'g';
  const formation = lead();
  join();
  await expect
    .poll(() => formation.current)
    .toMatchObject({
      state: 'lost',
      detail: 'replica 0 has model f, the others have g; give every agent the same files',
    });
});

/** Two stages, which are timed first. All half layers read as much. */
function leadTimed(): Formation {
  return lead(TWO_STAGES, { costsToMeasure: { blocks: Array.from({ length: 10 }, () => 7), head: 0 } });
}

/** Computes each half layer in `pace` microseconds. Keeps what layers it was given. */
function timedRank(pace: number): { readonly runner: Partial<Runner>; readonly loaded: (readonly [number, number])[] } {
  const loaded: (readonly [number, number])[] = [];
  const totals = { steps: 0, computeUs: 0, waitUs: 0 };
  const runner: Partial<Runner> = {
    load: async ({ layers }) => {
      loaded.push(layers);
      return { fingerprint: 'f', weightBytes: 0, kvCacheBytes: 0, bufferBytes: 0, availableBytes: 0 };
    },
    run: async (input) => {
      const [first = 0, end = 0] = loaded.at(-1) ?? [];
      const computeUs = 2 * (end - first) * pace;
      totals.steps += 1;
      totals.computeUs += computeUs;
      const numRows = input[7] ?? 0;
      const words = new Int32Array(outputBytes(Array.from({ length: numRows }, () => 1)).buffer);
      return { words, computeUs, waitUs: 0 };
    },
    status: () => ({ ...JOINING, ...totals }),
  };
  return { runner, loaded };
}

test('stages are timed once where that is asked for, and a slow host gets fewer layers', async () => {
  const formation = leadTimed();
  const [fast, slow] = [timedRank(100), timedRank(300)];
  const first = startRank(0, fast.runner);
  const lease = announce([first, startRank(1, slow.runner)], TWO_STAGES);
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 2 });
  expect(formation.current.plan?.layers).toEqual([
    [0, 4],
    [4, 5],
  ]);
  expect([fast.loaded, slow.loaded]).toEqual([
    [
      [0, 3],
      [0, 4],
    ],
    [
      [3, 5],
      [4, 5],
    ],
  ]);

  // Formed again, it stays so.
  lease.close();
  await expect.poll(() => formation.current.state).not.toBe('ready');
  announce([first, startRank(1, slow.runner)], TWO_STAGES);
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 3 });
  expect(slow.loaded.at(-1)).toEqual([4, 5]);
  expect(slow.loaded).toHaveLength(3);
});

test('layers by time are for the hosts that were timed', async () => {
  const formation = leadTimed();
  const [fast, slow] = [timedRank(100), timedRank(300)];
  const lease = announce([startRank(0, fast.runner), startRank(1, slow.runner)], TWO_STAGES);
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 2 });
  lease.close();
  await expect.poll(() => formation.current.state).not.toBe('ready');
  const [first, second] = [timedRank(100), timedRank(100)];
  announce([startRank(0, first.runner, 'i'), startRank(1, second.runner, 'i')], TWO_STAGES);
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 4 });
  expect([first.loaded, second.loaded]).toEqual([
    [
      [0, 3],
      [0, 2.5],
    ],
    [
      [3, 5],
      [2.5, 5],
    ],
  ]);
});

test('without room for layers by time the group has those that it had', async () => {
  const formation = leadTimed();
  const [fast, slow] = [timedRank(100), timedRank(300)];
  const load = fast.runner.load;
  fast.runner.load = async (spec) => {
    if (spec.layers[1] > 3) throw new Error('no room');
    return load?.(spec) ?? Promise.reject(new Error('unused'));
  };
  announce([startRank(0, fast.runner), startRank(1, slow.runner)], TWO_STAGES);
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 3 });
  expect(formation.current.plan?.layers).toEqual([
    [0, 3],
    [3, 5],
  ]);
});

test('a member lost while its stage is timed ends the attempt, and another is timed in its place', async () => {
  const formation = leadTimed();
  let running = false;
  const stuck: Partial<Runner> = {
    ...timedRank(1).runner,
    run: () => {
      running = true;
      return new Promise(() => {});
    },
  };
  const first = startRank(0, timedRank(1).runner);
  const plans: unknown[] = [];
  leader.subscribe(subjects.plans('g', 0), ({ data }) => plans.push(data));
  const lease = announce([first, startRank(1, stuck)], TWO_STAGES);
  await expect.poll(() => running).toBe(true);
  expect(formation.current).toMatchObject({ state: 'forming', detail: 'timing the stages' });
  lease.close();
  await expect.poll(() => formation.current.state).not.toBe('forming');
  // Nobody sends that step again.
  const sent = plans.length;
  await delay(600);
  expect(plans).toHaveLength(sent);
  announce([first, startRank(1, timedRank(1).runner)], TWO_STAGES);
  await expect.poll(() => formation.current).toMatchObject({ state: 'ready', epoch: 3 });
});
