import { TensorSplitError } from './errors.ts';

/** Name of the group of ranks that compute the layers of a stage together. */
export const TENSOR_GROUP = 'tensor';

/** A rank's place among those that compute the same layers together. */
export interface TensorPlace {
  readonly rank: number;
  readonly size: number;
}

export const WHOLE: TensorPlace = { rank: 0, size: 1 };

/** Name of the group of ranks, over all replicas, that share the experts of a stage's layers. */
export const EXPERT_GROUP = 'experts';

/** A data-parallel replica among those that share their experts. */
export interface ReplicaPlace {
  readonly index: number;
  readonly count: number;
}

export const ALONE: ReplicaPlace = { index: 0, count: 1 };

/** A run of rows, heads or experts. */
export interface Slice {
  readonly first: number;
  readonly count: number;
}

/** Query heads of a rank, and the key-value heads that they read. */
export interface HeadSlice {
  readonly queries: Slice;
  readonly keys: Slice;
}

/** Cuts are at multiples of these where that leaves slices about equal: kernels read weights in panels of as many rows. */
const ROW_UNITS = [64, 32, 16, 8];
/** Units of a slice, at least, so that one more or less does not count. */
const UNITS_MIN = 4;

/** `count` rows of a weight over `size` ranks. Throws TensorSplitError when a rank would have none; `what` names the rows. */
export function rowSlices(count: number, size: number, what: string): Slice[] {
  if (size > count) throw refused(size, `${what} has ${count} rows`);
  const unit = ROW_UNITS.find((rows) => count >= rows * size * UNITS_MIN) ?? 1;
  return evenSlices(Math.ceil(count / unit), size).map(({ first, count: units }) => ({
    first: first * unit,
    count: Math.min(count, (first + units) * unit) - first * unit,
  }));
}

/** Slices that differ by one at most; those of the first ranks are the larger. A slice is empty where there is less than one
 *  for each. */
export function evenSlices(count: number, size: number): Slice[] {
  const each = Math.floor(count / size);
  const leftover = count % size;
  return Array.from({ length: size }, (_, i) => ({
    first: i * each + Math.min(i, leftover),
    count: each + (i < leftover ? 1 : 0),
  }));
}

/** The key-value heads of every rank. Where there are fewer of them than ranks, several ranks have the same one. */
export function keySlices(numKVHeads: number, size: number): Slice[] {
  if (size <= numKVHeads) return evenSlices(numKVHeads, size);
  return Array.from({ length: size }, (_, rank) => ({ first: Math.floor((rank * numKVHeads) / size), count: 1 }));
}

/** The heads of every rank: whole groups of query heads with the head that they share or, where there are fewer of those than
 *  ranks, a part of one group. Throws TensorSplitError when a rank would have none. */
export function headSlices(
  { numHeads, numKVHeads }: { readonly numHeads: number; readonly numKVHeads: number },
  size: number,
): HeadSlice[] {
  const group = numHeads / numKVHeads;
  const keys = keySlices(numKVHeads, size);
  if (size <= numKVHeads)
    return keys.map((slice) => ({ queries: { first: slice.first * group, count: slice.count * group }, keys: slice }));
  return keys.map((slice, rank) => {
    const sharers = keys.flatMap(({ first }, other) => (first === slice.first ? [other] : []));
    const part = evenSlices(group, sharers.length)[sharers.indexOf(rank)];
    if (part === undefined || part.count === 0)
      throw refused(size, `there are ${numHeads} heads, ${group} for each of ${numKVHeads} key-value heads`);
    return { queries: { first: slice.first * group + part.first, count: part.count }, keys: slice };
  });
}

function refused(size: number, why: string): TensorSplitError {
  return new TensorSplitError(`--tensor-parallel-size is ${size}, and ${why}; choose a smaller one`, {
    details: { tensorParallelSize: size },
  });
}
