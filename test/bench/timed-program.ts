import { buildStageProgram, readCheckpointTensors, readModel } from '@skein/models';
import {
  feedbackToken,
  loadNative,
  packStepInput,
  type Program,
  type ProgramSpec,
  type RawStepOutput,
  type StepRow,
  type StepSequence,
  unpackStepOutput,
} from '@skein/native';

const BLOCK_SIZE = 16;
const DEADLINE_MS = 300_000;
/** Rows that `likeliest` may ask for, and tokens of each. */
const ROWS_MAX = 32;
const LOGPROBS_MAX = 5;

export interface TimedProgramOptions {
  readonly threads: number;
  /** Positions that each stream has cache for. */
  readonly streams: readonly number[];
  readonly stepTokensMax: number;
  /** What becomes of the checkpoint's matrices; none unless given. */
  readonly quantization?: 'none' | 'int8';
}

/** A token id and its logprob, or logit. */
export interface LikelyToken {
  readonly tokenId: number;
  readonly logit: number;
}

/** A whole model in this process, without engine or server. Each stream has its own blocks of the cache. */
export class TimedProgram implements Disposable {
  readonly spec: ProgramSpec;
  readonly #program: Program;
  readonly #close: () => void;
  /** The blocks of each stream. */
  readonly #blocks: readonly (readonly number[])[];
  #step = 0;

  static async load(dir: string, options: TimedProgramOptions): Promise<TimedProgram> {
    const { streams, stepTokensMax, threads, quantization = 'none' } = options;
    const model = await readModel(dir);
    const blocks: number[][] = [];
    for (const positions of streams) {
      const first = (blocks.at(-1)?.at(-1) ?? -1) + 1;
      blocks.push(Array.from({ length: Math.ceil(positions / BLOCK_SIZE) }, (_, i) => first + i));
    }
    const numStreams = streams.length;
    const spec = buildStageProgram({
      model,
      tensors: await readCheckpointTensors(dir),
      quantization,
      stages: 1,
      stage: 0,
      layers: [0, model.config.numLayers],
      limits: {
        maxTokens: stepTokensMax,
        maxSeqs: numStreams,
        maxRows: Math.max(numStreams, ROWS_MAX),
        maxModelLen: Math.max(...streams),
        maxLogprobs: LOGPROBS_MAX,
        numSlots: numStreams,
      },
      kvCache: { numBlocks: blocks.flat().length, blockSize: BLOCK_SIZE, dtype: 'bf16' },
    });
    const addon = loadNative();
    const device = addon.createDevice({ backend: 'cpu', threads });
    const program = addon.createProgram(device, spec);
    const close = (): void => {
      program.close();
      device.close();
    };
    try {
      await program.load(null);
    } catch (error) {
      close();
      throw error;
    }
    return new TimedProgram(spec, { program, close, blocks });
  }

  private constructor(
    spec: ProgramSpec,
    parts: {
      readonly program: Program;
      readonly close: () => void;
      readonly blocks: readonly (readonly number[])[];
    },
  ) {
    this.spec = spec;
    this.#program = parts.program;
    this.#close = parts.close;
    this.#blocks = parts.blocks;
  }

  /** Computes `numTokens` positions of a stream, from `first` on, in one step.
   *  @returns seconds. */
  async prefill(stream: number, numTokens: number, first = 0): Promise<number> {
    const startMs = performance.now();
    const tokenIds = Array.from({ length: numTokens }, (_, i) => this.#promptToken(stream, first + i));
    await this.#run([this.#sequence(stream, tokenIds, first)], [row(numTokens - 1, stream, first + numTokens - 1)]);
    return secondsSince(startMs);
  }

  /** The likeliest tokens behind each of the first `numTokens` (at most ROWS_MAX) positions of a stream, likeliest first,
   *  with their logprobs. */
  async likeliest(stream: number, numTokens: number): Promise<LikelyToken[][]> {
    const tokenIds = Array.from({ length: numTokens }, (_, position) => this.#promptToken(stream, position));
    const rows = tokenIds.map((_, position) => ({ ...row(position, null, position), numLogprobs: LOGPROBS_MAX }));
    const output = await this.#run([this.#sequence(stream, tokenIds, 0)], rows);
    return unpackStepOutput(output.words).map(({ top }) =>
      top.map(({ tokenId, logprob }) => ({ tokenId, logit: logprob })),
    );
  }

  /** Decodes `numSteps` tokens of each of `streams` after its first `context` positions. All steps are handed over at once, as
   *  an engine plans ahead: ids pass through feedback slots.
   *  @returns seconds. */
  async decode(streams: readonly number[], context: number, numSteps: number): Promise<number> {
    const startMs = performance.now();
    const steps = Array.from({ length: numSteps }, (_, n) => {
      const position = context + n;
      const token = (stream: number): number => (n === 0 ? this.#promptToken(stream, position) : feedbackToken(stream));
      return this.#run(
        streams.map((stream) => this.#sequence(stream, [token(stream)], position)),
        streams.map((stream, i) => row(i, stream, position)),
      );
    });
    await Promise.all(steps);
    return secondsSince(startMs);
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  #run(sequences: readonly StepSequence[], rows: readonly StepRow[]): Promise<RawStepOutput> {
    const step = this.#step++;
    return this.#program.run(
      packStepInput({ step, feedbackStep: step - 1, sequences, rows, maxLogprobs: LOGPROBS_MAX, rules: [] }),
      DEADLINE_MS,
    );
  }

  #sequence(stream: number, tokenIds: readonly number[], numComputedTokens: number): StepSequence {
    return { tokenIds, numComputedTokens, blockIds: this.#blocks[stream] ?? [] };
  }

  #promptToken(stream: number, position: number): number {
    return promptToken(stream, position, this.spec.vocabSize);
  }
}

/** The id at a position of a stream's prompt: any that repeats little. */
export function promptToken(stream: number, position: number, vocabSize: number): number {
  return (stream * 7919 + position * 104_729 + 17) % vocabSize;
}

/** Greedy, as ids of other streams must not depend on noise. */
/** A greedy row. */
export function row(token: number, slot: number | null, position: number): StepRow {
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n, choice: 0, numLogprobs: null, ruled: false };
  return { token, target: null, slot, position, ...sampling };
}

function secondsSince(startMs: number): number {
  return (performance.now() - startMs) / 1000;
}
