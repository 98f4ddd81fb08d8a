import { expect, test } from 'vitest';
import { ropeRowOrder } from './rope-rows.ts';

test('rows that are rotated together become neighbours, head by head', () => {
  expect(ropeRowOrder(2, 6)).toEqual([0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
});

test('rotating neighbours of the new layout is rotating halves of the old one', () => {
  const [numHeads, headDim] = [3, 8];
  const half = headDim / 2;
  const random = Array.from({ length: numHeads * headDim }, (_, i) => Math.sin(i * 12.9898) * 43_758.5453);
  const angle = (pair: number): number => 7 * 10_000 ** (-pair / half);
  const rotate = (
    x: readonly number[],
    indices: (head: number, pair: number) => readonly [number, number],
  ): number[] => {
    const out = [...x];
    for (let head = 0; head < numHeads; head++)
      for (let pair = 0; pair < half; pair++) {
        const [a, b] = indices(head, pair);
        const [cos, sin] = [Math.cos(angle(pair)), Math.sin(angle(pair))];
        out[a] = (x[a] ?? 0) * cos - (x[b] ?? 0) * sin;
        out[b] = (x[a] ?? 0) * sin + (x[b] ?? 0) * cos;
      }
    return out;
  };
  const order = ropeRowOrder(numHeads, headDim);
  const halves = rotate(random, (head, pair) => [head * headDim + pair, head * headDim + half + pair]);
  const reordered = order.map((row) => random[row] ?? 0);
  const neighbours = rotate(reordered, (head, pair) => [head * headDim + 2 * pair, head * headDim + 2 * pair + 1]);
  expect(neighbours).toEqual(order.map((row) => halves[row]));
});
