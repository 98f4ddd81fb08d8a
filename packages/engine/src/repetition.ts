import type { RepetitionDetection } from './generate.ts';

/** Whether `tokenIds` from `from` on end in a pattern of minPatternSize to maxPatternSize tokens that stands there minCount
 *  times in a row. */
export function endsInRepetition(tokenIds: readonly number[], from: number, detection: RepetitionDetection): boolean {
  const { minPatternSize, maxPatternSize, minCount } = detection;
  const longest = Math.min(maxPatternSize, Math.floor((tokenIds.length - from) / minCount));
  for (let size = minPatternSize; size <= longest; size++) {
    if (repeats(tokenIds, size, minCount)) return true;
  }
  return false;
}

/** Equal to itself shifted by `size`: then it consists of copies of its last `size` tokens. */
function repeats(tokenIds: readonly number[], size: number, count: number): boolean {
  const end = tokenIds.length;
  for (let i = end - 1; i >= end - size * (count - 1); i--) {
    if (tokenIds[i] !== tokenIds[i - size]) return false;
  }
  return true;
}
