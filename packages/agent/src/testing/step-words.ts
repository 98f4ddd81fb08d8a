import { GREEDY_ROW, packStepInput, type StepInput, type StepRow } from '@skein/native';

export const ROW: StepRow = { ...GREEDY_ROW, token: 0, position: 1 };

/** A step of one sequence of one token, with `numRows` rows. */
export function stepInput(step: number, numRows = 1): StepInput {
  return {
    step,
    feedbackStep: -1,
    sequences: [{ tokenIds: [7], numComputedTokens: 0, blockIds: [0] }],
    rows: Array.from({ length: numRows }, () => ROW),
    maxLogprobs: 0,
    rules: [],
  };
}

export function planBytes(step: number): Uint8Array {
  return new Uint8Array(packStepInput(stepInput(step)).buffer);
}

/** What a last stage answers: these sampled ids, without logprobs. */
export function outputBytes(tokenIds: readonly number[]): Uint8Array {
  const words = new Int32Array([tokenIds.length, 0, ...tokenIds, ...tokenIds.map(() => 0), ...tokenIds.map(() => 0)]);
  return new Uint8Array(words.buffer);
}
