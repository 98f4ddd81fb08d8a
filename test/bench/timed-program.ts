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
} from '@skein/native';

const BLOCK_SIZE = 16;
const DEADLINE_MS = 60_000;

export interface TimedProgramOptions {
  readonly threads: number;
  readonly streamsMax: number;
  /** Positions that each stream has cache for; also the most tokens of one step. */
  readonly positionsMax: number;
}

/** A whole model in this process, without engine or server. Each stream has its own blocks of the cache. */
export class TimedProgram implements Disposable {
  readonly spec: ProgramSpec;
  readonly #program: Program;
  readonly #close: () => void;
  readonly #blocksPerStream: number;
  #step = 0;

  static async load(dir: string, options: TimedProgramOptions): Promise<TimedProgram> {
    const { streamsMax, positionsMax, threads } = options;
    const model = await readModel(dir);
    const blocksPerStream = Math.ceil(positionsMax / BLOCK_SIZE);
    const spec = buildStageProgram({
      model,
      tensors: await readCheckpointTensors(dir),
      stages: 1,
      stage: 0,
      layers: [0, model.config.numLayers],
      limits: {
        maxTokens: positionsMax,
        maxSeqs: streamsMax,
        maxRows: streamsMax,
        maxModelLen: positionsMax,
        maxLogprobs: 0,
        numSlots: streamsMax,
      },
      kvCache: { numBlocks: blocksPerStream * streamsMax, blockSize: BLOCK_SIZE, dtype: 'bf16' },
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
    return new TimedProgram(spec, { program, close, blocksPerStream });
  }

  private constructor(
    spec: ProgramSpec,
    parts: { readonly program: Program; readonly close: () => void; readonly blocksPerStream: number },
  ) {
    this.spec = spec;
    this.#program = parts.program;
    this.#close = parts.close;
    this.#blocksPerStream = parts.blocksPerStream;
  }

  /** Computes the first `numTokens` positions of a stream in one step.
   *  @returns seconds. */
  async prefill(stream: number, numTokens: number): Promise<number> {
    const startMs = performance.now();
    const tokenIds = Array.from({ length: numTokens }, (_, position) => this.#promptToken(stream, position));
    await this.#run([this.#sequence(stream, tokenIds, 0)], [row(numTokens - 1, stream, numTokens - 1)]);
    return secondsSince(startMs);
  }

  /** Decodes `numSteps` tokens of each stream after its first `context` positions. All steps are handed over at once, as
   *  an engine plans ahead: ids pass through feedback slots.
   *  @returns seconds. */
  async decode(numStreams: number, context: number, numSteps: number): Promise<number> {
    const startMs = performance.now();
    const streams = Array.from({ length: numStreams }, (_, stream) => stream);
    const steps = Array.from({ length: numSteps }, (_, n) => {
      const position = context + n;
      const token = (stream: number): number => (n === 0 ? this.#promptToken(stream, position) : feedbackToken(stream));
      return this.#run(
        streams.map((stream) => this.#sequence(stream, [token(stream)], position)),
        streams.map((stream) => row(stream, stream, position)),
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
      packStepInput({ step, feedbackStep: step - 1, sequences, rows, maxLogprobs: 0, rules: [] }),
      DEADLINE_MS,
    );
  }

  #sequence(stream: number, tokenIds: readonly number[], numComputedTokens: number): StepSequence {
    const firstBlock = stream * this.#blocksPerStream;
    const blockIds = Array.from({ length: this.#blocksPerStream }, (_, i) => firstBlock + i);
    return { tokenIds, numComputedTokens, blockIds };
  }

  #promptToken(stream: number, position: number): number {
    return (stream * 7919 + position * 104_729 + 17) % this.spec.vocabSize;
  }
}

/** Greedy, as ids of other streams must not depend on noise. */
function row(token: number, slot: number, position: number): StepRow {
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n, choice: 0, numLogprobs: null, ruled: false };
  return { token, target: null, slot, position, ...sampling };
}

function secondsSince(startMs: number): number {
  return (performance.now() - startMs) / 1000;
}
