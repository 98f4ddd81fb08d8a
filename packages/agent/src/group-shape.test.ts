import { expect, test } from 'vitest';
import { numRanks, placeOf, ranksPerAgent } from './group-shape.ts';

const shape = { replicas: 2, stages: 3, tensorSize: 2, sharesExperts: false };

test('ranks that share a stage are neighbours, then the stages of a replica', () => {
  expect(numRanks(shape)).toBe(12);
  expect([0, 1, 2, 5, 6, 11].map((rank) => placeOf(rank, shape))).toEqual([
    { replica: 0, stage: 0, tensorRank: 0 },
    { replica: 0, stage: 0, tensorRank: 1 },
    { replica: 0, stage: 1, tensorRank: 0 },
    { replica: 0, stage: 2, tensorRank: 1 },
    { replica: 1, stage: 0, tensorRank: 0 },
    { replica: 1, stage: 2, tensorRank: 1 },
  ]);
});

test('pods have equally many ranks, or the sizes are refused with what they come to', () => {
  expect([1, 2, 3, 4, 6, 12].map((pods) => ranksPerAgent(shape, pods))).toEqual([12, 6, 4, 3, 2, 1]);
  expect(() => ranksPerAgent(shape, 5)).toThrow(
    'tensor x pipeline x data parallel is 2 x 3 x 2 = 12 ranks, and 5 pods (LWS_GROUP_SIZE) cannot have equally many',
  );
  expect(() => ranksPerAgent({ ...shape, replicas: 1, stages: 1, tensorSize: 1 }, 2)).toThrow(
    'cannot have equally many',
  );
  expect(() => ranksPerAgent({ ...shape, stages: 1, tensorSize: 64 }, 1)).toThrow('one agent runs at most 64');
});
