import type { StepInput, StepOutputRow } from '@skein/native';

/** What carries out steps: one program in this process, or all stages of a group. Owned by the engine's caller. */
export interface Executor {
  /** How many steps may be under way at once: the pipeline's depth plus one planned ahead. */
  readonly maxStepsInFlight: number;
  readonly numStages: number;
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly maxModelLen: number;
  readonly maxLogprobs: number;
  /** Steps run in call order. Rejects with ExecutorLostError when the step can never finish (a stage died): then every
   *  later step rejects too, and the engine waits for a new executor. */
  execute(input: StepInput): Promise<readonly StepOutputRow[]>;
}
