import { expect, test } from 'vitest';
import { agreement } from './agreement.ts';

const likely = (...logits: [tokenId: number, logit: number][]) =>
  logits.map(([tokenId, logit]) => ({ tokenId, logit }));

test('logits that differ by one number everywhere agree', () => {
  const a = [likely([5, 3], [7, 2.5], [1, 2]), likely([2, 1], [3, 0])];
  const b = a.map((position) => position.map(({ tokenId, logit }) => ({ tokenId, logit: logit - 12 })));
  expect(agreement(a, b)).toEqual({ positions: 2, sameLikeliest: 2, gapDifferenceMax: 0, gapMedian: 1 });
});

test('another order and other distances are told', () => {
  const a = [likely([5, 3], [7, 2.5])];
  const b = [likely([7, 3], [5, 2.75])];
  expect(agreement(a, b)).toEqual({ positions: 1, sameLikeliest: 0, gapDifferenceMax: 0.75, gapMedian: 0.5 });
});
