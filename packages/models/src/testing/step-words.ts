import { STEP_INPUT_HEADER_WORDS, STEP_INPUT_MAGIC } from '@skein/native';

/** A packed step input, unpacked; `position` and `blocks` are by token. */
export interface StepWords {
  readonly step: number;
  readonly feedbackStep: number;
  readonly tokenIds: readonly number[];
  readonly position: readonly number[];
  readonly blocks: readonly (readonly number[])[];
  readonly rowToken: readonly number[];
  readonly rowTarget: readonly number[];
  readonly rowSlot: readonly number[];
}

export function readStepInput(words: Int32Array): StepWords {
  const [magic, version, step = 0, , numTokens = 0, numSeqs = 0, numBlockIds = 0, numRows = 0, , feedbackStep = -1] =
    words;
  if (magic !== STEP_INPUT_MAGIC || version !== 2) throw new Error('no packed step input');
  let at = STEP_INPUT_HEADER_WORDS;
  const take = (n: number): number[] => [...words.subarray(at, (at += n))];
  const tokenIds = take(numTokens);
  const queryStart = take(numSeqs + 1);
  const numComputed = take(numSeqs);
  const blockStart = take(numSeqs + 1);
  const blockIds = take(numBlockIds);
  const position: number[] = [];
  const blocks: number[][] = [];
  for (let s = 0; s < numSeqs; s++) {
    const table = blockIds.slice(blockStart[s], blockStart[s + 1]);
    for (let t = queryStart[s] ?? 0; t < (queryStart[s + 1] ?? 0); t++) {
      position.push((numComputed[s] ?? 0) + t - (queryStart[s] ?? 0));
      blocks.push(table);
    }
  }
  return {
    step,
    feedbackStep,
    tokenIds,
    position,
    blocks,
    rowToken: take(numRows),
    rowTarget: take(numRows),
    rowSlot: take(numRows),
  };
}
