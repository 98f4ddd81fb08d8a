import { describe, expect, it } from 'vitest';
import { engineConfig, type EngineConfig } from './engine-config.ts';
import type { SamplingParams } from './generate.ts';
import { Request } from './request.ts';
import type { SchedulerCapacity } from './request-limits.ts';
import { type RequestUpdate, Scheduler } from './scheduler.ts';
import type { SchedulerOutput } from './scheduler-output.ts';
import { toyRequest } from './testing/toy-request.ts';

function setUp(config: Partial<EngineConfig> = {}, capacity: Partial<SchedulerCapacity> = {}) {
  const preempted: string[] = [];
  const scheduler = new Scheduler(engineConfig({ maxNumSeqs: 4, maxNumBatchedTokens: 32, maxNumRows: 8, ...config }), {
    onPreemption: ({ request }) => preempted.push(request.id),
  });
  scheduler.reset({ numStages: 1, numBlocks: 32, blockSize: 16, maxModelLen: 256, maxLogprobs: 5, ...capacity });
  let arrival = 0;
  const add = (
    id: string,
    numPromptTokens: number,
    { priority = 0, like = id, ...sampling }: Partial<SamplingParams> & { priority?: number; like?: string } = {},
  ): Request => {
    const { promptTokenIds } = toyRequest(like, numPromptTokens);
    const request = new Request({ ...toyRequest(id, 1, sampling), promptTokenIds, priority }, arrival++);
    scheduler.add(request);
    return request;
  };
  const plan = (underWay = 0): SchedulerOutput => {
    const output = scheduler.schedule(underWay);
    if (!output) throw new Error('nothing was planned');
    return output;
  };
  const finish = (output: SchedulerOutput, tokenId = 5): RequestUpdate[] =>
    scheduler.update(
      output,
      output.rows.map(() => ({ tokenId, logprob: null, rank: null, top: [] })),
    );
  return { scheduler, preempted, add, plan, finish };
}

const shares = (output: SchedulerOutput): Record<string, number> =>
  Object.fromEntries(output.scheduled.map((s) => [s.request.id, s.numTokens]));

describe('Scheduler', () => {
  it('chunks a prompt, decodes first, and samples where the known tokens end', () => {
    const { add, plan, finish } = setUp();
    add('a', 20);
    add('b', 30);
    const first = plan();
    expect(shares(first)).toEqual({ a: 20, b: 12 });
    expect(first.rows.map((r) => r.request.id)).toEqual(['a']);
    finish(first);
    const second = plan();
    expect(shares(second)).toEqual({ a: 1, b: 18 });
    expect(second.input.rows.map((r) => [r.token, r.slot, r.position])).toEqual([
      [0, 0, 1],
      [18, 1, 0],
    ]);
    expect([second.numDecodeTokens, second.numPrefillTokens]).toEqual([1, 18]);
  });

  it('plans on while the last token is under way, by its feedback slot', () => {
    const { add, plan, finish } = setUp();
    const a = add('a', 4);
    const [first, second, third] = [plan(), plan(1), plan(2)];
    expect(second.input).toMatchObject({ feedbackStep: 0, sequences: [{ tokenIds: [-1], numComputedTokens: 4 }] });
    expect(third.input).toMatchObject({ feedbackStep: 1, sequences: [{ tokenIds: [-1], numComputedTokens: 5 }] });
    for (const output of [first, second, third]) finish(output, 9);
    expect(a.tokenIds.slice(4)).toEqual([9, 9, 9]);
    expect(plan().input).toMatchObject({ feedbackStep: -1, sequences: [{ tokenIds: [9] }] });
  });

  it('never plans an output beyond maxTokens', () => {
    const { scheduler, add, plan } = setUp();
    add('a', 4, { maxTokens: 2 });
    plan();
    plan(1);
    expect(scheduler.schedule(2)).toBeNull();
  });

  it('drops what comes after a stop token, and frees blocks before that comes', () => {
    const { scheduler, add, plan, finish } = setUp();
    add('a', 4, { stopTokenIds: [7, 8], eosTokenIds: [8] });
    const [first, second] = [plan(), plan(1)];
    expect(finish(first, 7)).toMatchObject([{ finishReason: 'stop', stopReason: 7 }]);
    expect(scheduler.kv.numUsedBlocks).toBe(0);
    expect(finish(second, 9)).toEqual([]);
    scheduler.checkIntegrity();
  });

  it('circulates two batches through two stages without making one wait for the other', () => {
    const { add, plan, finish } = setUp({}, { numStages: 2 });
    for (const id of ['a', 'b', 'c']) add(id, 4);
    finish(plan());
    const steps = [plan(), plan(1), plan(2), plan(3)].map((s) => Object.keys(shares(s)).join(''));
    expect(steps).toEqual(['ab', 'c', 'ab', 'c']);
  });

  it('plans a lone request ahead in every stage', () => {
    const { add, plan } = setUp({}, { numStages: 4 });
    add('a', 4);
    expect([plan(), plan(1), plan(2), plan(3)].map((s) => shares(s))).toEqual([{ a: 4 }, { a: 1 }, { a: 1 }, { a: 1 }]);
  });

  it('takes the blocks of the latest arrival, also out of the step being planned', () => {
    const { scheduler, preempted, add, plan, finish } = setUp({}, { numBlocks: 3 });
    const [a, b] = [add('a', 15, { maxTokens: 30 }), add('b', 15, { maxTokens: 30 })];
    finish(plan());
    finish(plan());
    // b is due before a, and a then needs the block that b was just given.
    [a.lastScheduledStep, b.lastScheduledStep] = [1, 0];
    expect(shares(plan())).toEqual({ a: 1 });
    expect(preempted).toEqual(['b']);
    expect([b.status, b.numComputedTokens, b.tokenIds.length]).toEqual(['waiting', 0, 17]);
    scheduler.checkIntegrity();
  });

  it('brings a preempted request back only when all its tokens are known', () => {
    const { scheduler, preempted, add, plan, finish } = setUp({}, { numBlocks: 3 });
    const [a, b] = [add('a', 15, { maxTokens: 30 }), add('b', 15, { maxTokens: 30 })];
    const under: SchedulerOutput[] = [];
    while (preempted.length === 0) under.push(plan(under.length));
    expect([preempted, b.numPendingTokens]).toEqual([['b'], 2]);
    scheduler.finish(a);
    expect(scheduler.schedule(under.length)).toBeNull();
    for (const output of under) finish(output, 6);
    expect(b.tokenIds.slice(15)).toEqual([6, 6]);
    expect(shares(plan())).toEqual({ b: 17 });
  });

  it('scores each prompt position once, within the row limit, also after preemption', () => {
    const { scheduler, add, plan, finish } = setUp({ maxNumRows: 4 });
    const a = add('a', 10, { numPromptLogprobs: 1, maxTokens: 3 });
    const first = plan();
    expect(shares(first)).toEqual({ a: 4 });
    expect(first.input.rows.map((r) => r.target)).toEqual(a.tokenIds.slice(1, 5));
    scheduler.executorLost([]);
    scheduler.reset({ numStages: 1, numBlocks: 32, blockSize: 16, maxModelLen: 256, maxLogprobs: 5 });
    const targets = [];
    let update: RequestUpdate | undefined;
    while (!update) {
      const output = plan();
      targets.push(...output.input.rows.flatMap((r) => r.target ?? []));
      update = finish(output)[0];
    }
    expect(targets).toEqual(a.tokenIds.slice(1, 10));
    expect(update.promptLogprobs).toHaveLength(10);
  });

  it('starts where the prefix cache ends, and lets one request compute what several need', () => {
    const { scheduler, add, plan, finish } = setUp({ maxNumBatchedTokens: 64 });
    add('a', 40);
    const [b, c] = [add('b', 40, { like: 'a' }), add('c', 8)];
    // b waits for a's blocks and holds up nobody; one step later they are there.
    expect(shares(plan())).toEqual({ a: 40, c: 8 });
    const second = plan(1);
    expect(shares(second)).toEqual({ a: 1, c: 1, b: 8 });
    expect(second.input.sequences[2]).toMatchObject({ numComputedTokens: 32 });
    expect([b.numCachedTokens, c.numCachedTokens]).toEqual([32, 0]);
    scheduler.checkIntegrity();
    finish(second);
  });

  it('computes the whole prompt when its logprobs are wanted', () => {
    const { add, plan, finish } = setUp({ maxNumRows: 64, maxNumBatchedTokens: 64 });
    add('a', 40, { maxTokens: 1 });
    finish(plan());
    add('b', 40, { like: 'a', numPromptLogprobs: 1, maxTokens: 1 });
    expect(shares(plan())).toEqual({ b: 40 });
  });

  it('brings a preempted request back on what is left of its blocks', () => {
    const { scheduler, preempted, add, plan, finish } = setUp({}, { numBlocks: 5 });
    const [a, b] = [add('a', 15, { maxTokens: 20 }), add('b', 30, { maxTokens: 30 })];
    while (preempted.length === 0) finish(plan());
    expect(preempted).toEqual(['b']);
    scheduler.finish(a);
    const next = plan();
    expect(next.input.sequences[0]).toMatchObject({ numComputedTokens: 32 });
    expect(shares(next)).toEqual({ b: b.tokenIds.length - 32 });
    // Counted when it first came, not again.
    expect(b.numCachedTokens).toBe(0);
  });

  it('preempts whoever loses least of those that come later', () => {
    const { preempted, add, plan, finish } = setUp({ maxNumBatchedTokens: 64 }, { numBlocks: 7 });
    add('a', 15, { maxTokens: 60 });
    add('b', 6, { maxTokens: 60 });
    add('c', 31, { maxTokens: 60 });
    while (preempted.length === 0) finish(plan());
    expect(preempted).toEqual(['b']);
  });

  it('counts a shared prefix as not lost', () => {
    const { preempted, add, plan, finish } = setUp({ maxNumBatchedTokens: 64 }, { numBlocks: 9 });
    add('a', 49, { maxTokens: 60 });
    const c = add('c', 20, { maxTokens: 60 });
    finish(plan());
    const b = add('b', 49, { like: 'a', maxTokens: 60 });
    while (preempted.length === 0) finish(plan());
    // b has far more tokens than c, yet most of them are a's too.
    expect(preempted).toEqual(['b']);
    expect([b.numCachedTokens, c.status]).toEqual([48, 'running']);
  });

  it('serves lower priority values first, and lets the first push others out', () => {
    const { scheduler, preempted, add, plan, finish } = setUp(
      { schedulingPolicy: 'priority', maxNumSeqs: 2 },
      { numBlocks: 4 },
    );
    add('low', 20, { priority: 5, maxTokens: 9 });
    finish(plan());
    add('mid', 20, { priority: 3, maxTokens: 9 });
    add('high', 40, { priority: -1, maxTokens: 9 });
    expect(scheduler.waiting.map((r) => r.id)).toEqual(['high', 'mid']);
    expect(shares(plan())).toEqual({ high: 32 });
    expect(preempted).toEqual(['low']);
    expect(scheduler.waiting.map((r) => r.id)).toEqual(['mid', 'low']);
    scheduler.checkIntegrity();
  });

  it('refuses what can never fit, with the numbers', () => {
    const { add } = setUp({ maxWaiting: 1 }, { numBlocks: 2, maxModelLen: 100 });
    expect(() => add('a', 32)).toThrow(expect.objectContaining({ code: 'ERR_PROMPT_TOO_LONG' }));
    expect(() => add('a', 32)).toThrow(/32 prompt and 0 output tokens .*\(2 blocks of 16\)/);
    expect(add('b', 30, { maxTokens: 50 }).maxTokens).toBe(2);
    expect(() => add('c', 1)).toThrow(expect.objectContaining({ code: 'ERR_OVERLOADED' }));
  });
});
