import { type LikelyToken, promptToken } from '../timed-program.ts';
import {
  COMPARED_POSITIONS,
  CONTEXT,
  type Engine,
  type EngineFacts,
  type EngineModel,
  LONG_CONTEXT,
  LONG_POSITIONS,
  PREFILL_TOKENS,
  STREAM_POSITIONS,
  STREAMS_MAX,
  THREADS,
} from './engine.ts';
import { serveEngine } from './engine-server.ts';
import { type LlamaAddon, type LlamaContext, type LlamaModel, loadLlamaAddon } from './llama-addon.ts';

const VOCAB_SIZE = 128_256;
const LIKELIEST = 5;
/** What of llama.cpp's report says how it computes. */
const TELLING = /flash_attn|flash attention|kv_cache.*size|buffer size|n_ubatch/i;

/** llama.cpp through its addon: a batch is one llama_decode. Contexts are apart, so that none pays for another's streams.
 *  Decoding feeds given tokens and samples nothing, as llama-bench does: sampling would only add to its time. */
class LlamaEngine implements Engine {
  #addon: LlamaAddon | null = null;
  #model: LlamaModel | null = null;
  #single: LlamaContext | null = null;
  #many: LlamaContext | null = null;
  #long: LlamaContext | null = null;
  #report = '';

  async load({ path, streams, long }: EngineModel): Promise<EngineFacts> {
    const addon = await loadLlamaAddon((text) => {
      this.#report += text;
    });
    this.#addon = addon;
    const model = new addon.AddonModel(path, { addonExports: addon, gpuLayers: 0, useMmap: true });
    if (!(await model.init())) throw new Error(`llama.cpp cannot load ${path}`);
    this.#model = model;
    this.#single = await this.#context(1, PREFILL_TOKENS);
    this.#many = await this.#context(STREAMS_MAX, STREAM_POSITIONS);
    await batch(this.#single, [{ stream: 0, first: 0, count: CONTEXT }]);
    for (let stream = 0; stream < streams; stream++) await batch(this.#many, [{ stream, first: 0, count: CONTEXT }]);
    if (long) {
      this.#long = await this.#context(1, LONG_POSITIONS);
      for (let first = 0; first < LONG_CONTEXT; first += PREFILL_TOKENS)
        await batch(this.#long, [{ stream: 0, first, count: PREFILL_TOKENS }]);
    }
    // The report comes through the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    const lines = this.#report.split('\n').filter((line) => TELLING.test(line));
    return {
      weightBytes: model.getTotalSize(),
      bytesPerPosition: 0,
      prefillFlopsPerToken: null,
      notes: [model.getModelDescription(), addon.systemInfo().trim(), ...new Set(lines)],
    };
  }

  async prefill(): Promise<number> {
    const context = loaded(this.#single);
    context.removeTokenCellsFromSequence(0, 0, -1);
    return batch(context, [{ stream: 0, first: 0, count: PREFILL_TOKENS }]);
  }

  decode(numStreams: number, numSteps: number): Promise<number> {
    return decode(loaded(numStreams === 1 ? this.#single : this.#many), { numStreams, context: CONTEXT, numSteps });
  }

  decodeLong(numSteps: number): Promise<number> {
    return decode(loaded(this.#long), { numStreams: 1, context: LONG_CONTEXT, numSteps });
  }

  async likeliest(): Promise<LikelyToken[][]> {
    const context = loaded(this.#single);
    context.removeTokenCellsFromSequence(0, 0, -1);
    context.initBatch(COMPARED_POSITIONS);
    const tokens = prompt(0, 0, COMPARED_POSITIONS);
    const indexes = context.addToBatch(0, 0, tokens, Uint32Array.from(tokens.keys()));
    await context.decodeBatch();
    const sampler = new (loaded(this.#addon).AddonSampler)(loaded(this.#model));
    sampler.applyConfig({ temperature: 0 });
    const positions: LikelyToken[][] = [];
    for (const index of indexes) {
      const sampled = await context.sampleToken(index, sampler, false, false, [[], false, false, false, LIKELIEST]);
      const flat = sampled[3];
      positions.push(
        Array.from({ length: flat.length / 2 }, (_, i) => ({
          tokenId: flat[2 * i] ?? -1,
          logit: flat[2 * i + 1] ?? NaN,
        })),
      );
    }
    return positions;
  }

  async #context(sequences: number, positions: number): Promise<LlamaContext> {
    const context = new (loaded(this.#addon).AddonContext)(loaded(this.#model), {
      contextSize: sequences * positions,
      batchSize: PREFILL_TOKENS,
      sequences,
      flashAttention: 'auto',
      threads: THREADS,
    });
    if (!(await context.init())) throw new Error(`llama.cpp has no context of ${sequences} x ${positions} positions`);
    return context;
  }
}

interface Run {
  readonly stream: number;
  readonly first: number;
  readonly count: number;
}

/** Computes runs of positions as one batch, with the logits of the last of each.
 *  @returns seconds. */
async function batch(context: LlamaContext, runs: readonly Run[]): Promise<number> {
  const startMs = performance.now();
  context.initBatch(runs.reduce((n, { count }) => n + count, 0));
  for (const { stream, first, count } of runs)
    context.addToBatch(stream, first, prompt(stream, first, count), Uint32Array.of(count - 1));
  await context.decodeBatch();
  return (performance.now() - startMs) / 1000;
}

async function decode(
  context: LlamaContext,
  { numStreams, context: first, numSteps }: { numStreams: number; context: number; numSteps: number },
): Promise<number> {
  const streams = Array.from({ length: numStreams }, (_, stream) => stream);
  for (const stream of streams) context.removeTokenCellsFromSequence(stream, first, -1);
  const run = (step: number): Promise<number> =>
    batch(
      context,
      streams.map((stream) => ({ stream, first: first + step, count: 1 })),
    );
  await run(0);
  let seconds = 0;
  for (let step = 1; step <= numSteps; step++) seconds += await run(step);
  return seconds;
}

function prompt(stream: number, first: number, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => promptToken(stream, first + i, VOCAB_SIZE));
}

function loaded<T>(part: T | null): T {
  if (part === null) throw new Error('nothing is loaded');
  return part;
}

serveEngine(new LlamaEngine());
