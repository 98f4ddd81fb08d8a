import { expect, test } from 'vitest';
import { defaultPartition } from './default-partition.ts';

test('a head as large as layers takes their place; a small one leaves the split even', () => {
  const layers = Array.from({ length: 16 }, () => 61);
  expect(defaultPartition({ layers, head: 263 }, 2)).toEqual([10, 6]);
  expect(defaultPartition({ layers, head: 60 }, 2)).toBeNull();
  expect(defaultPartition({ layers, head: 263 }, 1)).toBeNull();
});

test('layers of different cost are split by cost', () => {
  expect(defaultPartition({ layers: [9, 1, 1, 1, 1, 1], head: 1 }, 2)).toEqual([1, 5]);
});

test('more stages than layers are refused', () => {
  expect(() => defaultPartition({ layers: [1, 1], head: 1 }, 3)).toThrow(
    expect.objectContaining({ code: 'ERR_STAGE_SPLIT' }),
  );
});
