import type { Executor } from '@skein/engine';
import type { StepInput, StepOutputRow } from '@skein/native';

type Rows = readonly StepOutputRow[];

interface Queued {
  readonly input: StepInput;
  readonly resolve: (rows: Rows) => void;
  readonly reject: (error: unknown) => void;
}

interface Lane {
  readonly executor: Executor;
  /** Steps that wait for the other replicas. */
  readonly queue: Queued[];
  /** Steps under way, or so lately finished that the engine has not yet said what follows. */
  underWay: number;
  /** By the engine's number of a step, that of its wave; of the latest. */
  readonly waves: Map<number, number>;
}

const NOTHING: Omit<StepInput, 'step'> = { feedbackStep: -1, sequences: [], rows: [], maxLogprobs: 0, rules: [] };
/** More than an engine has under way. */
const WAVES_KEPT = 256;

/** Replicas that share their experts compute together: a wave is one step of each, and an empty one where a replica has nothing
 *  to do. A wave waits for every replica that computes something, and so may have more, but for none that rests. */
export class Lockstep {
  /** One for each replica's engine, in the order of the executors. */
  readonly executors: readonly Executor[];
  readonly #lanes: readonly Lane[];
  #nextWave = 0;

  constructor(executors: readonly Executor[]) {
    this.#lanes = executors.map((executor) => ({ executor, queue: [], underWay: 0, waves: new Map() }));
    this.executors = this.#lanes.map((lane) => {
      const { numStages, maxStepsInFlight, numBlocks, blockSize, maxModelLen, maxLogprobs } = lane.executor;
      const execute = (input: StepInput): Promise<Rows> => {
        const { promise, resolve, reject } = Promise.withResolvers<Rows>();
        lane.queue.push({ input, resolve, reject });
        this.#startWaves();
        return promise;
      };
      return { numStages, maxStepsInFlight, numBlocks, blockSize, maxModelLen, maxLogprobs, execute };
    });
  }

  #startWaves(): void {
    const lanes = this.#lanes;
    while (lanes.some(({ queue }) => queue.length > 0)) {
      if (lanes.some(({ queue, underWay }) => queue.length === 0 && underWay > 0)) return;
      const wave = this.#nextWave++;
      const steps = lanes.map(({ queue }) => queue.shift() ?? null);
      const sourceTokens = steps.map((step) => numTokens(step?.input ?? null));
      for (const [i, lane] of lanes.entries()) void this.#run(lane, steps[i] ?? null, { wave, sourceTokens });
    }
  }

  async #run(
    lane: Lane,
    step: Queued | null,
    of: { readonly wave: number; readonly sourceTokens: readonly number[] },
  ): Promise<void> {
    const { wave, sourceTokens } = of;
    if (!step) {
      // What it fails with, the replicas that compute hear too.
      await lane.executor.execute({ ...NOTHING, step: wave, sourceTokens }).catch(() => {});
      return;
    }
    const { input, resolve, reject } = step;
    lane.waves.set(input.step, wave);
    lane.waves.delete(input.step - WAVES_KEPT);
    lane.underWay += 1;
    const feedbackStep = lane.waves.get(input.feedbackStep) ?? -1;
    try {
      resolve(await lane.executor.execute({ ...input, step: wave, feedbackStep, sourceTokens }));
    } catch (error) {
      reject(error);
    }
    // The engine plans in the turn after it has heard, and what it plans belongs into the next wave.
    setImmediate(() =>
      setImmediate(() => {
        lane.underWay -= 1;
        this.#startWaves();
      }),
    );
  }
}

function numTokens(input: StepInput | null): number {
  return (input?.sequences ?? []).reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
}
