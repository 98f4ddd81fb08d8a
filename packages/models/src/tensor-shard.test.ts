import { expect, test } from 'vitest';
import { evenSlices, headSlices, keySlices, rowSlices, type Slice } from './tensor-shard.ts';

/** Every unit is in one slice, in order. */
function expectCover(slices: readonly Slice[], count: number): void {
  let at = 0;
  for (const { first, count: own } of slices) {
    expect(first).toBe(at);
    at += own;
  }
  expect(at).toBe(count);
}

test('rows are covered once, in slices that differ little, and by panels where there are enough', () => {
  for (let size = 1; size <= 8; size++) {
    for (const count of [8, 9, 31, 112, 168, 300, 1003, 8192, 128_257]) {
      const slices = rowSlices(count, size, 'w');
      expect(slices).toHaveLength(size);
      expectCover(slices, count);
      const counts = slices.map((slice) => slice.count);
      expect(Math.min(...counts)).toBeGreaterThan(0);
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(Math.max(2, count / size / 2));
      if (count >= 64 * 4 * size) expect(slices.every(({ first }) => first % 64 === 0)).toBe(true);
    }
  }
});

test('experts of more ranks than there are leave some with none', () => {
  expect(evenSlices(5, 3)).toEqual([
    { first: 0, count: 2 },
    { first: 2, count: 2 },
    { first: 4, count: 1 },
  ]);
  expect(evenSlices(1, 2).map(({ count }) => count)).toEqual([1, 0]);
});

test('heads are covered once, and each has the key-value head that it shares', () => {
  for (const [numHeads, numKVHeads] of [
    [8, 8],
    [8, 2],
    [6, 2],
    [5, 5],
    [5, 1],
    [64, 8],
    [12, 4],
  ] as const) {
    const group = numHeads / numKVHeads;
    for (let size = 1; size <= numHeads; size++) {
      let slices;
      try {
        slices = headSlices({ numHeads, numKVHeads }, size);
      } catch {
        // More ranks on one key-value head than it has query heads.
        expect(Math.ceil(size / numKVHeads)).toBeGreaterThan(group);
        continue;
      }
      expectCover(
        slices.map(({ queries }) => queries),
        numHeads,
      );
      expect(slices.map(({ keys }) => keys)).toEqual(keySlices(numKVHeads, size));
      for (const { queries, keys } of slices) {
        expect(queries.count % keys.count).toBe(0);
        for (let head = 0; head < queries.count; head++) {
          const own = keys.first + Math.floor(head / (queries.count / keys.count));
          expect(own).toBe(Math.floor((queries.first + head) / group));
        }
      }
    }
  }
});

test('more ranks than heads, or than rows, are refused with both numbers', () => {
  const refused = (message: string): unknown => expect.objectContaining({ code: 'ERR_TENSOR_SPLIT', message });
  expect(() => headSlices({ numHeads: 4, numKVHeads: 2 }, 5)).toThrow(
    refused(
      '--tensor-parallel-size is 5, and there are 4 heads, 2 for each of 2 key-value heads; choose a smaller one',
    ),
  );
  expect(() => rowSlices(3, 4, 'lm_head')).toThrow(
    refused('--tensor-parallel-size is 4, and lm_head has 3 rows; choose a smaller one'),
  );
});
