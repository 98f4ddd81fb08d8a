import { describe, expect, it } from 'vitest';
import { engineConfig } from './engine-config.ts';
import { Engine } from './engine.ts';
import type { EngineObserver } from './engine-observer.ts';
import { manualClock } from './testing/manual-clock.ts';
import { ToyExecutor } from './testing/toy-executor.ts';
import { toyAnswer } from './testing/toy-model.ts';
import { collect, toyRequest, turn } from './testing/toy-request.ts';

const config = engineConfig({ maxNumSeqs: 4, maxNumBatchedTokens: 64, maxNumRows: 64, maxWaiting: 8, maxLostMs: 1000 });
const limits = { maxTokens: 64, maxSeqs: 4, maxRows: 64 };
const never = new AbortController().signal;

function setUp(observer: Partial<EngineObserver> = {}) {
  const clock = manualClock();
  const engine = new Engine(config, { observer, clock });
  const executor = new ToyExecutor({ limits });
  return { engine, clock, executor };
}

/** Lets the executor answer until `done`. */
async function runUntil(executor: ToyExecutor, done: () => boolean): Promise<void> {
  for (let i = 0; !done(); i++) {
    if (i > 1000) throw new Error('no end in sight');
    executor.settle(8);
    await turn();
  }
}

describe('Engine', () => {
  it('streams a request to its end and reports on it', async () => {
    const calls: string[] = [];
    const { engine, executor } = setUp({
      onFirstToken: () => calls.push('first'),
      onTokens: ({ numTokens }) => calls.push(`tokens ${numTokens}`),
      onFinished: ({ reason, numOutputTokens }) => calls.push(`${reason} ${numOutputTokens}`),
    });
    engine.attach(executor);
    const request = toyRequest('a', 5, { maxTokens: 2 });
    const stream = collect(engine.generate(request, never));
    await runUntil(executor, () => stream.done);
    expect(stream.events.flatMap((e) => e.tokens)).toEqual(toyAnswer(request, 256).tokens);
    expect(calls).toEqual(['first', 'tokens 1', 'tokens 1', 'length 2']);
    expect(engine.lastProgress.stepsFinished).toBe(2);
  });

  it('merges what a slow reader has not taken', async () => {
    const { engine, executor } = setUp();
    engine.attach(executor);
    const request = toyRequest('a', 5, { maxTokens: 20 });
    const stream = engine.generate(request, never);
    const reading = stream.next();
    await turn();
    executor.settle();
    const first = await reading;
    await runUntil(executor, () => engine.stats().numFinished.length === 1);
    const rest = await stream.next();
    expect(first.value?.tokens).toHaveLength(1);
    expect(rest.value).toMatchObject({ finishReason: 'length' });
    expect(rest.value?.tokens).toEqual(toyAnswer(request, 256).tokens.slice(1));
  });

  it('frees everything when the reader leaves the loop, or the signal fires', async () => {
    const { engine, executor } = setUp();
    engine.attach(executor);
    const controller = new AbortController();
    const aborted = collect(engine.generate(toyRequest('a', 5, { maxTokens: 99 }), controller.signal));
    const leave = async (): Promise<void> => {
      for await (const _event of engine.generate(toyRequest('b', 5, { maxTokens: 99 }), never)) return;
    };
    const left = leave();
    await turn();
    executor.settle();
    await left;
    controller.abort(new Error('client gone'));
    expect(engine.stats()).toMatchObject({ numRunning: 0, numUsedBlocks: 0, numFinished: { abort: 1, stop: 1 } });
    await turn();
    expect(aborted.error).toMatchObject({ code: 'ERR_ABORTED', cause: { message: 'client gone' } });
    engine.checkIntegrity();
  });

  it('pauses streams when the executor is lost and goes on with the next one', async () => {
    const { engine, executor } = setUp();
    engine.attach(executor);
    const request = toyRequest('a', 5, { maxTokens: 12, temperature: 0.8 });
    const stream = collect(engine.generate(request, never));
    await runUntil(executor, () => stream.events.length >= 3);
    executor.lose();
    await turn();
    await turn();
    expect(engine.stats()).toMatchObject({ state: 'waiting-for-executor', numRunning: 0, numWaiting: 1 });
    const next = new ToyExecutor({ limits, numStages: 3 });
    engine.attach(next);
    await runUntil(next, () => stream.done);
    expect(stream.events.flatMap((e) => e.tokens)).toEqual(toyAnswer(request, 256).tokens);
    expect(engine.stats().numPreemptions['executor-lost']).toBe(1);
  });

  it('fails the one request that kills three executors, and no other', async () => {
    const lost: ToyExecutor[] = [];
    const { engine } = setUp({
      onExecutorLost: () => {
        const executor = new ToyExecutor({ limits });
        executor.poison = 1_000;
        lost.push(executor);
        engine.attach(executor);
      },
    });
    const executor = new ToyExecutor({ limits });
    executor.poison = 1_000;
    engine.attach(executor);
    const good = ['a', 'b'].map((id) => toyRequest(id, 5));
    const bad = { ...toyRequest('bad', 1), promptTokenIds: [1, 1_000] };
    const [a, poisoned, b] = [good[0] ?? bad, bad, good[1] ?? bad].map((r) => collect(engine.generate(r, never)));
    for (let i = 0; i < 200 && !(a?.done && b?.done && poisoned?.done); i++) {
      for (const e of [executor, ...lost]) e.settle(8);
      await turn();
    }
    expect(poisoned?.error).toMatchObject({ code: 'ERR_INTERNAL', details: { numLosses: 3 } });
    for (const [i, stream] of [a, b].entries())
      expect(stream?.events.flatMap((e) => e.tokens)).toEqual(toyAnswer(good[i] ?? bad, 256).tokens);
    expect(lost).toHaveLength(3);
  });

  it('fails pending requests when no executor comes for too long', async () => {
    const { engine, clock } = setUp();
    const stream = collect(engine.generate(toyRequest('a', 5), never));
    await turn();
    clock.advance(1000);
    await turn();
    expect(stream.error).toMatchObject({ code: 'ERR_ENGINE_LOST' });
    const late = collect(engine.generate(toyRequest('b', 5), never));
    await turn();
    expect(late.error).toMatchObject({ code: 'ERR_ENGINE_LOST' });
  });

  it('drains: finishes what it has and refuses the rest', async () => {
    const { engine, executor } = setUp();
    engine.attach(executor);
    const stream = collect(engine.generate(toyRequest('a', 5), never));
    await turn();
    let drained = false;
    const draining = engine.drain().then(() => {
      drained = true;
    });
    const late = collect(engine.generate(toyRequest('b', 5), never));
    await turn();
    expect([late.error, drained]).toEqual([expect.objectContaining({ code: 'ERR_DRAINING' }), false]);
    await runUntil(executor, () => stream.done);
    await draining;
  });

  it('refuses bad requests at the door', async () => {
    const { engine, executor } = setUp();
    engine.attach(executor);
    const bad = [
      toyRequest('a', 0),
      toyRequest('b', 3, { maxTokens: 0 }),
      toyRequest('c', 3, { topP: Number.NaN }),
      toyRequest('d', 3, { numLogprobs: 6 }),
    ];
    const streams = bad.map((r) => collect(engine.generate(r, never)));
    await turn();
    for (const stream of streams) expect(stream.error).toMatchObject({ code: 'ERR_INVALID_REQUEST' });
    const long = collect(engine.generate(toyRequest('e', 256), never));
    await turn();
    expect(long.error).toMatchObject({ code: 'ERR_PROMPT_TOO_LONG' });
    expect(engine.stats()).toMatchObject({ numWaiting: 0, numRunning: 0 });
  });

  it('leaves the event loop free beside an executor that is always ready', async () => {
    const { engine } = setUp();
    const executor = new ToyExecutor({ limits });
    const { execute } = executor;
    executor.execute = (input) => {
      const result = execute.call(executor, input);
      executor.settle();
      return result;
    };
    engine.attach(executor);
    const stream = collect(engine.generate(toyRequest('a', 5, { maxTokens: 200 }), never));
    let turns = 0;
    for (; !stream.done; turns++) await turn();
    expect(turns).toBeGreaterThan(50);
  });
});
