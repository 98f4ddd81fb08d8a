import { expect, test } from 'vitest';
import { CASES } from './cases.ts';
import { peerResult, type PeerSample, spread } from './peer-sample.ts';

const sample = (value: number, peerValue: number, limit: number | null = null): PeerSample => ({
  value,
  peerValue,
  limit,
  foreignCores: 0,
});
const spec = CASES.find(({ id }) => id === 'decode-bf16')!;

test('the ratio is the median of the rounds, not the ratio of the medians', () => {
  const result = peerResult(spec, 'other', [sample(1, 2), sample(10, 10), sample(30, 20)]);
  expect(result).toMatchObject({ value: 10, peerValue: 10, ratio: 1, peer: 'other', goal: 1.15 });
  const drifting = peerResult(spec, 'other', [sample(1, 1), sample(4, 2), sample(8, 1)]);
  expect(drifting).toMatchObject({ value: 4, peerValue: 1, ratio: 2 });
});

test('a share of the limit has a goal of its own; without a limit there is neither', () => {
  const limited = peerResult(spec, 'other', [sample(8, 8, 10), sample(9, 8, 10), sample(5, 8, 10)]);
  expect(limited).toMatchObject({ limit: 10, limitShare: 0.8, limitGoal: 0.85 });
  expect(peerResult(spec, 'other', [sample(8, 8)])).toMatchObject({ limit: null, limitShare: null, limitGoal: null });
});

test('the spread goes from the lowest to the highest round', () => {
  expect(spread([1.25, 0.5, 1])).toBe('0.500 to 1.25');
});

test('no two cases share an id', () => {
  expect(new Set(CASES.map(({ id }) => id)).size).toBe(CASES.length);
});
