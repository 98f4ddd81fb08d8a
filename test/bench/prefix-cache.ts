import type { Engine } from '@skein/engine';
import { greedy, KVCacheManager, Random } from '@skein/engine/testing';
import { InProcessModel } from '../support/in-process-model.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { cachedCheckpoint } from './cached-checkpoint.ts';
import { median } from './statistics.ts';

const SHAPE = 'smollm-135m';
const THREADS = 2;
const SEQS_MAX = 16;
const MODEL_LEN_MAX = 1536;
const BLOCK_SIZE = 16;

const CHATS = 5;
const TURNS = 10;
const SYSTEM_TOKENS = 64;
const QUESTION_TOKENS = 32;
const ANSWER_TOKENS = 64;

const LONE_REQUESTS = 32;
const LONE_PROMPT_TOKENS = 256;
const LONE_OUTPUT_TOKENS = 32;

/** What the prefix cache brings to a chat, and what it costs those who find nothing in it: a model of the SmolLM-135M shape in this
 *  process, without server or bus. */
export async function prefixCache(progress: (line: string) => void): Promise<BenchResult[]> {
  const dir = await cachedCheckpoint(SHAPE, progress);
  const load = (enablePrefixCaching: boolean): Promise<InProcessModel> =>
    InProcessModel.load(dir, {
      engine: { maxNumSeqs: SEQS_MAX, maxNumBatchedTokens: 512, maxNumRows: SEQS_MAX, enablePrefixCaching },
      numBlocks: (2 * SEQS_MAX * MODEL_LEN_MAX) / BLOCK_SIZE,
      maxModelLen: MODEL_LEN_MAX,
      blockSize: BLOCK_SIZE,
      threads: THREADS,
    });
  const results: BenchResult[] = [];
  for (const caching of [true, false]) {
    await using model = await load(caching);
    await chat(model, 0);
    const chats: number[][] = [];
    for (let i = 1; i <= CHATS; i++) chats.push(await chat(model, i));
    const timeOf = (turn: number): number => median(chats.map((times) => times.at(turn) ?? 0));
    const figure = { value: timeOf(-1), unit: 'ms', peer: 'turn 1', peerValue: timeOf(0) };
    const name = `TTFT of turn ${TURNS}, cache ${caching ? 'on' : 'off'}`;
    results.push(benchResult({ name, ...figure, ...(caching ? { goal: 1.5 } : {}) }));
    progress(`chats with the cache ${caching ? 'on' : 'off'} done`);
    if (caching) results.push(await costAtNoHits(model));
  }
  return results;
}

/** @returns the time to first token of each turn, in ms. */
async function chat(model: InProcessModel, seed: number): Promise<number[]> {
  const random = new Random(seed);
  const text = (length: number): number[] => Array.from({ length }, () => random.int(0, model.vocabSize - 1));
  let context = text(SYSTEM_TOKENS);
  const times: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const prompt = [...context, ...text(QUESTION_TOKENS)];
    const { tokenIds, firstMs } = await ask(model.engine, `chat-${seed}-${turn}`, prompt, ANSWER_TOKENS);
    times.push(firstMs);
    context = [...prompt, ...tokenIds];
  }
  return times;
}

/** Time inside the cache's functions, all that they do for requests without a cache too, beside the time of the steps. */
async function costAtNoHits(model: InProcessModel): Promise<BenchResult> {
  const random = new Random(7);
  const before = model.engine.stats();
  const clock = timeCacheFunctions();
  const startMs = performance.now();
  const requests = Array.from({ length: LONE_REQUESTS }, (_, i) => {
    const prompt = Array.from({ length: LONE_PROMPT_TOKENS }, () => random.int(0, model.vocabSize - 1));
    return ask(model.engine, `lone-${i}`, prompt, LONE_OUTPUT_TOKENS);
  });
  await Promise.all(requests);
  const totalMs = performance.now() - startMs;
  clock.stop();
  const after = model.engine.stats();
  if (after.numPrefixCacheHits !== before.numPrefixCacheHits) throw new Error('a random prompt was found in the cache');
  const numSteps = after.numStepsFinished - before.numStepsFinished;
  return benchResult({
    name: 'cache functions at no hits, a step',
    value: (1000 * clock.ms()) / numSteps,
    unit: 'us',
    peer: 'step',
    peerValue: (1000 * totalMs) / numSteps,
    goal: 0.01,
  });
}

function timeCacheFunctions(): { ms(): number; stop(): void } {
  const names = ['admit', 'grow', 'cacheFullBlocks', 'wouldShare', 'free'] as const;
  const methods = KVCacheManager.prototype as unknown as Record<string, (...args: unknown[]) => unknown>;
  let totalMs = 0;
  const originals = names.map((name) => [name, methods[name]] as const);
  for (const [name, original] of originals) {
    methods[name] = function timed(...args) {
      const startMs = performance.now();
      const result = original?.apply(this, args);
      totalMs += performance.now() - startMs;
      return result;
    };
  }
  return {
    ms: () => totalMs,
    stop: () => {
      for (const [name, original] of originals) if (original) methods[name] = original;
    },
  };
}

async function ask(
  engine: Engine,
  requestId: string,
  promptTokenIds: readonly number[],
  maxTokens: number,
): Promise<{ readonly tokenIds: number[]; readonly firstMs: number }> {
  const startMs = performance.now();
  let firstMs = 0;
  const tokenIds: number[] = [];
  const request = { requestId, promptTokenIds, sampling: { ...greedy, maxTokens }, client: 'bench' };
  for await (const event of engine.generate(request, new AbortController().signal)) {
    if (tokenIds.length === 0) firstMs = performance.now() - startMs;
    tokenIds.push(...event.tokens.map((token) => token.tokenId));
  }
  return { tokenIds, firstMs };
}
