import { describe, expect, it } from 'vitest';
import { engineConfig } from './engine-config.ts';
import { Engine } from './engine.ts';
import type { RequestOutcome } from './engine-observer.ts';
import { maxRequestTokens } from './request-limits.ts';
import { Random } from './testing/random.ts';
import { ToyExecutor } from './testing/toy-executor.ts';
import { toyAnswer } from './testing/toy-model.ts';
import { collect, type Collected, randomRequest, turn } from './testing/toy-request.ts';
import type { GenerateRequest } from './generate.ts';

/** Whole lives of random workloads on tiny pools. Guards what the engine promises: each stream equals the request computed
 *  alone, blocks and slots add up at every moment, budgets hold (the toy executor checks them), and all of it ends. */
const SEEDS = 300;

interface Life {
  readonly request: GenerateRequest;
  readonly collected: Collected;
  readonly abort: AbortController;
}

async function simulate(seed: number): Promise<Record<string, number>> {
  const random = new Random(seed);
  const maxNumSeqs = random.int(1, 6);
  const config = engineConfig({
    maxNumSeqs,
    maxNumBatchedTokens: maxNumSeqs + random.int(0, 60),
    maxNumRows: maxNumSeqs + random.int(0, 20),
    enablePrefixCaching: random.chance(0.8),
  });
  const limits = { maxTokens: config.maxNumBatchedTokens, maxSeqs: maxNumSeqs, maxRows: config.maxNumRows };
  const numStages = random.int(1, 4);
  const shape = {
    numStages,
    maxStepsInFlight: random.int(1, numStages + 2),
    numBlocks: random.int(3, 16),
    blockSize: 16,
    maxModelLen: random.int(60, 250),
    limits,
  };
  const maxTotal = maxRequestTokens({ ...shape, maxLogprobs: 5 });
  const [abortRate, lossRate] = [random.chance(0.5) ? 0.03 : 0, random.chance(0.3) ? 0.01 : 0];
  const [settleRate, arrivalRate] = [0.3 + random.next() * 0.7, 0.1 + random.next() * 0.9];

  const outcomes: RequestOutcome[] = [];
  const engine = new Engine(config, { observer: { onFinished: (o) => outcomes.push(o) } });
  let executor: ToyExecutor | null = null;
  const lives: Life[] = [];
  const numRequests = random.int(1, 16);
  const sharedPrefix = Array.from({ length: random.int(0, maxTotal / 2) }, () => random.int(0, 9));
  let turns = 0;
  while (lives.length < numRequests || lives.some((l) => !l.collected.done)) {
    expect(turns++, `seed ${seed} makes no progress`).toBeLessThan(20_000);
    if (!executor) engine.attach((executor = new ToyExecutor(shape)));
    if (lives.length < numRequests && random.chance(arrivalRate)) {
      const request = randomRequest(`r${lives.length}`, random, {
        maxPrompt: random.chance(0.2) ? maxTotal - 1 : Math.ceil(maxTotal / 3),
        maxTokens: 90,
        sharedPrefix,
      });
      const abort = new AbortController();
      lives.push({ request, abort, collected: collect(engine.generate(request, abort.signal)) });
    }
    if (random.chance(abortRate)) lives[random.int(0, lives.length - 1)]?.abort.abort();
    if (random.chance(settleRate)) executor.settle(random.int(1, 3));
    if (random.chance(lossRate)) {
      executor.lose();
      executor = null;
    }
    await turn();
    engine.checkIntegrity();
  }
  executor?.settle(100);
  await turn();
  await turn();

  for (const { request, collected, abort } of lives) {
    const answer = toyAnswer(request, maxTotal);
    const tokens = collected.events.flatMap((e) => e.tokens);
    if (abort.signal.aborted && collected.error) {
      expect(collected.error).toMatchObject({ code: 'ERR_ABORTED' });
      expect(tokens).toEqual(answer.tokens.slice(0, tokens.length));
      continue;
    }
    expect(collected.error).toBeNull();
    expect(tokens).toEqual(answer.tokens);
    expect(collected.events[0]?.promptLogprobs).toEqual(answer.promptLogprobs);
    expect(collected.events.slice(1).every((e) => e.promptLogprobs === null)).toBe(true);
    const last = collected.events.at(-1);
    expect({ finishReason: last?.finishReason, stopReason: last?.stopReason }).toEqual({
      finishReason: answer.finishReason,
      stopReason: answer.stopReason,
    });
  }
  const stats = engine.stats();
  expect(outcomes.map((o) => o.requestId).sort()).toEqual(lives.map((l) => l.request.requestId).sort());
  expect(stats).toMatchObject({
    numRunning: 0,
    numWaiting: 0,
    numUsedBlocks: 0,
    numStepsInFlight: 0,
  });
  expect(stats.numFreeBlocks + stats.numCachedBlocks).toBe(stats.numBlocks);
  engine.close();
  return {
    hits: stats.numPrefixCacheHits,
    steps: stats.numStepsFinished,
    kvPreemptions: stats.numPreemptions['kv-cache'],
    lossPreemptions: stats.numPreemptions['executor-lost'],
    aborted: stats.numFinished.abort,
    stopped: stats.numFinished.stop,
  };
}

describe('random lives of the engine', () => {
  it(`end as if each request had run alone (${SEEDS} seeds)`, { timeout: 60_000 }, async () => {
    const totals: Record<string, number> = {};
    for (let seed = 0; seed < SEEDS; seed++) {
      const counts = await simulate(seed).catch((cause: unknown) => {
        throw new Error(`seed ${seed}`, { cause });
      });
      for (const [name, n] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + n;
    }
    // The workloads must reach what they are here to test.
    for (const [name, n] of Object.entries(totals)) expect(n, name).toBeGreaterThan(20);
  });
});
