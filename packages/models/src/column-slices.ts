import type { StoredWeight, WeightQuantization } from '@skein/native';
import type { FoundParameter } from './program-recorder.ts';

/** A sum over columns is made of so many partial sums, at most, each of a multiple of PARTIAL_COLUMNS columns (native's
 *  `PartialSums`). */
const PARTIALS_MAX = 8;
const PARTIAL_COLUMNS = 32;

/** Whether ranks that have `widths` columns of a weight each can add up their products in the tree in which one rank that has
 *  all columns adds up its partial sums. */
export function continueTree(
  widths: readonly number[],
  { stored, quantize }: Pick<FoundParameter, 'stored' | 'quantize'>,
): boolean {
  const [width = 0] = widths;
  const cols = width * widths.length;
  if (widths.some((other) => other !== width) || partialSums(cols) % widths.length !== 0) return false;
  const shared = sharedColumns(stored, quantize);
  return shared !== null && width % shared === 0;
}

function partialSums(cols: number): number {
  let count = PARTIALS_MAX;
  while (count > 1 && cols % (count * PARTIAL_COLUMNS) !== 0) count /= 2;
  return count;
}

/** Neighbouring columns that share what a column alone does not tell, such as a scale: only all of them can be taken. Null where
 *  columns cannot be taken at all: their order, or a scale of what they are multiplied with, is of the whole row. */
function sharedColumns(stored: StoredWeight, quantize: WeightQuantization | null): number | null {
  if (quantize !== null) return QUANTIZED_GROUP[quantize];
  switch (stored.format) {
    case 'plain':
      return BLOCK_COLUMNS[stored.tensor.dtype] ?? 1;
    case 'gptq':
    case 'packed':
      return stored.gIdx === null ? (stored.groupSize ?? 1) : null;
    case 'awq':
      return stored.groupSize;
    case 'int8':
      return stored.rowScaledActivations ? null : (stored.groupSize ?? 1);
    case 'fp8':
      return stored.blockShape?.[1] ?? 1;
  }
}

const QUANTIZED_GROUP: Readonly<Record<WeightQuantization, number>> = { int8: 128, int4: 32, int4g128: 128, fp8: 1 };
/** Of ggml's types; others share nothing. */
const BLOCK_COLUMNS: Readonly<Record<string, number>> = {
  q8_0: 32,
  q4_0: 32,
  q4_1: 32,
  q4_k: 256,
  q5_k: 256,
  q6_k: 256,
};
