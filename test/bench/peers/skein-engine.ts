import { prefillFlops, weightBytesPerStep } from '../program-cost.ts';
import { type LikelyToken, TimedProgram } from '../timed-program.ts';
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

const STREAMS = Array.from({ length: STREAMS_MAX }, (_, stream) => stream);
const LONG_STREAM = STREAMS_MAX;
const KV_ELEMENT_BYTES = 2;

/** One program in this process, with greedy sampling: an engine plans ahead, so steps are handed over all at once. */
class SkeinEngine implements Engine {
  #loaded: TimedProgram | null = null;

  get #program(): TimedProgram {
    if (this.#loaded === null) throw new Error('nothing is loaded');
    return this.#loaded;
  }

  async load({ path, quantization, streams: numStreams, long }: EngineModel): Promise<EngineFacts> {
    const streams: number[] = STREAMS.map((stream) => (stream === 0 ? PREFILL_TOKENS : STREAM_POSITIONS));
    if (long) streams.push(LONG_POSITIONS);
    const options = { threads: THREADS, streams, stepTokensMax: PREFILL_TOKENS };
    this.#loaded = await TimedProgram.load(path, { ...options, quantization });
    for (const stream of STREAMS.slice(0, numStreams)) await this.#program.prefill(stream, CONTEXT);
    for (let first = 0; long && first < LONG_CONTEXT; first += PREFILL_TOKENS)
      await this.#program.prefill(LONG_STREAM, PREFILL_TOKENS, first);
    const { spec } = this.#program;
    const kvElements = spec.kvCache.layers.reduce(
      (n, layer) =>
        n + (layer.kind === 'heads' ? 2 * layer.numKVHeads * layer.headDim : layer.latentDim + layer.ropeDim),
      0,
    );
    return {
      weightBytes: weightBytesPerStep(spec),
      bytesPerPosition: kvElements * KV_ELEMENT_BYTES,
      prefillFlopsPerToken: prefillFlops(spec, PREFILL_TOKENS) / PREFILL_TOKENS,
      notes: [`KV cache bf16, blocks of ${spec.kvCache.blockSize}`],
    };
  }

  prefill(): Promise<number> {
    return this.#program.prefill(0, PREFILL_TOKENS);
  }

  async decode(numStreams: number, numSteps: number): Promise<number> {
    await this.#program.decode(STREAMS.slice(0, numStreams), CONTEXT, 1);
    return this.#program.decode(STREAMS.slice(0, numStreams), CONTEXT, numSteps);
  }

  async decodeLong(numSteps: number): Promise<number> {
    await this.#program.decode([LONG_STREAM], LONG_CONTEXT, 1);
    return this.#program.decode([LONG_STREAM], LONG_CONTEXT, numSteps);
  }

  likeliest(): Promise<LikelyToken[][]> {
    return this.#program.likeliest(0, COMPARED_POSITIONS);
  }
}

serveEngine(new SkeinEngine());
