import { ExecutorLostError } from '@skein/engine';
import { type LocalHub, type MessageBus, startLocalHub } from '@skein/message-bus';
import type { StepInput } from '@skein/native';
import { newIdentity, type StepPlan, stepPlanSchema, type StepResult, subjects } from '@skein/protocol';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { outputBytes, stepInput } from '../testing/step-words.ts';
import { MeshExecutor, type MeshExecutorOptions } from './mesh-executor.ts';

const EPOCH = 5;
let hubs: LocalHub[];
let rank: MessageBus;
let directRank: MessageBus;
let seen: { readonly by: 'main' | 'direct'; readonly plan: StepPlan }[];
let lost: Error[];
let executor: MeshExecutor;
/** What the executor sees of the broker's bus. */
let main: MessageBus;

beforeEach(async () => {
  hubs = await Promise.all(
    [100_000, 400_000].map((frameBytesMax) => startLocalHub({ listen: null, groupKey: null, frameBytesMax })),
  );
  const [mainHub, directHub] = hubs;
  if (!mainHub || !directHub) throw new Error('no hubs');
  [main, rank] = [mainHub.connect(newIdentity('leader')), mainHub.connect(newIdentity('rank'))];
  directRank = directHub.connect(newIdentity('rank'));
  seen = [];
  lost = [];
  rank.subscribe(subjects.plans('g', 0), ({ data }) => seen.push({ by: 'main', plan: stepPlanSchema.parse(data) }));
  directRank.subscribe(subjects.plans('g', 0), ({ data }) =>
    seen.push({ by: 'direct', plan: stepPlanSchema.parse(data) }),
  );
  executor = create({ direct: directHub.connect(newIdentity('leader')) });
});

afterEach(async () => {
  vi.useRealTimers();
  executor.lose(new Error('the test is over'));
  await Promise.all(hubs.map((hub) => hub.close()));
});

function create(options: Pick<MeshExecutorOptions, 'direct'> & Partial<MeshExecutorOptions>): MeshExecutor {
  const shape = { numStages: 2, numBlocks: 8, blockSize: 16, maxModelLen: 128, maxLogprobs: 0, stepDeadlineMs: 30_000 };
  return new MeshExecutor({
    main,
    group: 'g',
    replica: 0,
    epoch: EPOCH,
    ...shape,
    onLost: (error) => lost.push(error),
    ...options,
  });
}

function answer(step: number, ids: readonly number[], change: Partial<StepResult> = {}): void {
  const result: StepResult = {
    epoch: EPOCH,
    step,
    stage: 1,
    computeUs: 1,
    waitUs: 1,
    output: outputBytes(ids),
    error: null,
  };
  rank.publish(subjects.results('g', 0), { ...result, ...change });
}

const steps = (): number[] => seen.map(({ plan }) => plan.step);

test('plans go out at once and in order; results may come in any order', async () => {
  const [first, second] = [executor.execute(stepInput(40)), executor.execute(stepInput(41))];
  await expect.poll(steps).toEqual([0, 1]);
  answer(1, [11]);
  answer(0, [10]);
  expect((await first)[0]?.tokenId).toBe(10);
  expect((await second)[0]?.tokenId).toBe(11);
  expect(seen.every(({ by, plan }) => by === 'main' && plan.epoch === EPOCH)).toBe(true);
});

test('a plan without an answer goes over the direct link, again and again, until it is answered', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const first = executor.execute(stepInput(0));
  const numDirect = (): number => seen.filter(({ by }) => by === 'direct').length;
  for (const count of [1, 2, 3]) {
    vi.advanceTimersToNextTimer();
    await expect.poll(numDirect).toBe(count);
  }
  answer(0, [3]);
  await first;
  expect(vi.getTimerCount()).toBe(0);
});

test('when the broker goes away what is under way, and what follows, takes the direct link', async () => {
  const first = executor.execute(stepInput(0));
  await expect.poll(steps).toEqual([0]);
  await hubs[0]?.close();
  expect(main.connected).toBe(false);
  await expect.poll(() => seen.map(({ by, plan }) => `${by} ${plan.step}`)).toContain('direct 0');
  const second = executor.execute(stepInput(1));
  await expect.poll(() => seen.map(({ by, plan }) => `${by} ${plan.step}`)).toContain('direct 1');
  const result: StepResult = {
    epoch: EPOCH,
    step: 0,
    stage: 1,
    computeUs: 1,
    waitUs: 1,
    output: outputBytes([4]),
    error: null,
  };
  directRank.publish(subjects.results('g', 0), result);
  directRank.publish(subjects.results('g', 0), { ...result, step: 1 });
  expect((await first)[0]?.tokenId).toBe(4);
  await second;
});

test('a plan larger than the broker takes goes over the direct link; one larger than that loses the group', async () => {
  const large = (numBlocks: number): StepInput => ({
    ...stepInput(0),
    sequences: [{ tokenIds: [7], numComputedTokens: 0, blockIds: Array.from({ length: numBlocks }, () => 0) }],
  });
  const first = executor.execute(large(30_000));
  await expect.poll(() => seen[0]?.by).toBe('direct');
  answer(0, [1]);
  await first;
  await expect(executor.execute(large(110_000))).rejects.toThrow(
    /the plan of step 0 has \d+ bytes, the direct link takes \d+/,
  );
  expect(lost).toHaveLength(1);
});

test('duplicates, unknown steps, other epochs and malformed messages change nothing', async () => {
  const first = executor.execute(stepInput(0));
  await expect.poll(steps).toEqual([0]);
  answer(0, [9], { epoch: EPOCH - 1 });
  answer(0, [9], { epoch: EPOCH + 1, error: { code: 'ERR_PEER_LOST', message: 'old news' } });
  answer(7, [9]);
  rank.publish(subjects.results('g', 0), 'nonsense');
  answer(0, [1]);
  answer(0, [2]);
  expect((await first)[0]?.tokenId).toBe(1);
  expect(lost).toEqual([]);
});

test('a stage that fails a step loses all steps under way, and later ones, with its reason', async () => {
  const both = Promise.allSettled([executor.execute(stepInput(40)), executor.execute(stepInput(41))]);
  answer(0, [], { stage: 0, output: null, error: { code: 'ERR_PEER_LOST', message: 'stage-1 hung up' } });
  for (const outcome of [...(await both), ...(await Promise.allSettled([executor.execute(stepInput(42))]))]) {
    expect(outcome).toMatchObject({
      status: 'rejected',
      reason: { code: 'ERR_EXECUTOR_LOST', message: 'stage 0 failed step 40: stage-1 hung up' },
    });
  }
  expect(lost).toHaveLength(1);
});

test.each([
  ['another number of rows', outputBytes([1, 2])],
  ['a count that its bytes do not hold', new Uint8Array(new Int32Array([1, 1_000_000, 0, 0, 0]).buffer)],
  ['nothing', new Uint8Array()],
])('an output with %s loses the group', async (_, output) => {
  const step = executor.execute(stepInput(3));
  answer(0, [], { output });
  await expect(step).rejects.toThrow(/stage 1 answered step 3 with \d+ words/);
});

test('steps that nobody answers for ten deadlines are lost', async () => {
  executor.lose(new Error('another takes its place'));
  const direct = hubs[1]?.connect(newIdentity('leader'));
  if (!direct) throw new Error('no hub');
  executor = create({ direct, stepDeadlineMs: 20 });
  await expect(executor.execute(stepInput(0))).rejects.toBeInstanceOf(ExecutorLostError);
});

test('lose rejects everything, once, and sends nothing more', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const step = executor.execute(stepInput(0));
  executor.lose(new Error('worker 1 is gone'));
  executor.lose(new Error('again'));
  await expect(step).rejects.toThrow('worker 1 is gone');
  await expect(executor.execute(stepInput(1))).rejects.toThrow('worker 1 is gone');
  expect(lost.map((error) => error.message)).toEqual(['worker 1 is gone']);
  await expect.poll(steps).toEqual([0]);
  expect(vi.getTimerCount()).toBe(0);
});
