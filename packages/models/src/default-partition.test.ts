import { expect, test } from 'vitest';
import { defaultPartition, measuredPartition } from './default-partition.ts';

const layers = (count: number, attention: number, feedForward: number): number[] =>
  Array.from({ length: count }, () => [attention, feedForward]).flat();

test('a head as large as layers takes their place; a small one leaves the split even', () => {
  const blocks = layers(16, 21, 40);
  expect(defaultPartition({ blocks, head: 263 }, 2)).toEqual([10, 6]);
  expect(defaultPartition({ blocks, head: 20 }, 2)).toBeNull();
  expect(defaultPartition({ blocks, head: 263 }, 1)).toBeNull();
});

// The shape of Llama 3.2 1B: attentions of 21 MB, feed-forwards of 101 MB, a head of 525 MB.
test('a stage may end between the attention of a layer and its feed-forward', () => {
  const blocks = layers(16, 21, 101);
  expect(defaultPartition({ blocks, head: 525 }, 2)).toEqual([10.5, 5.5]);
});

test('layers of different cost are split by cost', () => {
  expect(defaultPartition({ blocks: [8, 4, ...layers(5, 0.5, 0.5)], head: 1 }, 2)).toEqual([0.5, 5.5]);
  expect(defaultPartition({ blocks: [1, 8, ...layers(5, 0.5, 0.5)], head: 1 }, 2)).toEqual([1, 5]);
});

test('more stages than layers are refused', () => {
  expect(() => defaultPartition({ blocks: layers(2, 1, 1), head: 1 }, 3)).toThrow(
    expect.objectContaining({ code: 'ERR_STAGE_SPLIT' }),
  );
});

test('a stage that takes longer than what it reads has fewer layers, the head of the last one counted', () => {
  const costs = { blocks: layers(16, 21, 40), head: 263 };
  const even: [number, number][] = [
    [0, 8],
    [8, 16],
  ];
  // The first has 488 of 1239, and takes twice as long for a byte.
  expect(measuredPartition(costs, even, [2 * 488, 488 + 263])).toEqual([7, 9]);
  // As fast as each other: the split by what is read.
  expect(measuredPartition(costs, even, [488, 488 + 263])).toEqual([10, 6]);
  // The second is 3 % slower than its bytes say: what half a layer less would gain is not worth another load.
  const by: [number, number][] = [
    [0, 10],
    [10, 16],
  ];
  expect(measuredPartition(costs, by, [610, 648])).toBeNull();
});
