import { describe, expect, test } from 'vitest';
import { placeExperts, placeMixtures } from './expert-placement.ts';

/** A generator of its own for each case: numbers from 0 to 1. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Loads like those of routers: a few experts have most of the tokens. */
function skewed(count: number, seed: number): number[] {
  const next = random(seed);
  return Array.from({ length: count }, () => Math.floor(1000 * next() ** 4));
}

/** What each rank has to do where the copies of an expert share its tokens. */
function rankLoads(loads: readonly number[], owners: readonly (readonly number[])[], ranks: number): number[] {
  const sums = Array<number>(ranks).fill(0);
  for (const [expert, own] of owners.entries())
    for (const rank of own) sums[rank] = (sums[rank] ?? 0) + (loads[expert] ?? 0) / own.length;
  return sums;
}

const CASES = [2, 3, 4, 7].flatMap((ranks) =>
  [1, 4, 6, 16, 33].flatMap((experts) =>
    [0, 1, 2, experts, experts * (ranks - 1)]
      .filter((redundant) => redundant <= experts * (ranks - 1))
      .map((redundant) => ({ ranks, experts, redundant })),
  ),
);

test.each(CASES)(
  '$experts experts and $redundant more over $ranks ranks: each somewhere, never twice on one, as many on all',
  ({ ranks, experts, redundant }) => {
    for (const loads of [
      skewed(experts, 1),
      skewed(experts, 2),
      Array<number>(experts).fill(1),
      Array<number>(experts).fill(0),
    ]) {
      const owners = placeExperts(loads, { ranks, redundant });
      expect(owners).toHaveLength(experts);
      for (const own of owners) {
        expect(own.length).toBeGreaterThan(0);
        expect(own).toEqual([...new Set(own)].sort((a, b) => a - b));
      }
      const counts = Array.from({ length: ranks }, (_, rank) => owners.filter((own) => own.includes(rank)).length);
      expect(counts.reduce((a, b) => a + b)).toBe(experts + redundant);
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      // The first rank has most: plans look at that one.
      expect(counts[0]).toBe(Math.max(...counts));
      expect(placeExperts(loads, { ranks, redundant })).toEqual(owners);
    }
  },
);

test('the most loaded experts have the copies', () => {
  const owners = placeExperts([10, 90, 20, 30], { ranks: 4, redundant: 3 });
  // 90, then 45 each, then 30 each: expert 3 has as much to do, and fewer copies.
  expect(owners.map((own) => own.length)).toEqual([1, 3, 1, 2]);
  expect(placeExperts([10, 90, 20, 30], { ranks: 2, redundant: 2 }).map((own) => own.length)).toEqual([1, 2, 1, 2]);
  // Of experts that had nothing to do each gets a copy in turn.
  expect(placeExperts([0, 0, 0], { ranks: 4, redundant: 2 }).map((own) => own.length)).toEqual([2, 2, 1]);
  const even = placeMixtures([{ layer: 5, numExperts: 4 }], { ranks: 2, redundant: 1, loads: null });
  expect(even.map(({ layer, owners: own }) => [layer, own.map(({ length }) => length)])).toEqual([[5, [2, 1, 1, 1]]]);
});

/** The smallest load of the busiest rank over all ways to place copies of which experts have `counts`. */
function bestPossible(loads: readonly number[], counts: readonly number[], ranks: number): number {
  const copies = counts.flatMap((count, expert) => Array.from({ length: count }, () => expert));
  const most = Math.ceil(copies.length / ranks);
  let best = Infinity;
  const place = (at: number, held: number[][], sums: number[]): void => {
    const expert = copies[at];
    if (expert === undefined) {
      best = Math.min(best, Math.max(...sums));
      return;
    }
    for (let rank = 0; rank < ranks; rank++) {
      if (held[rank]?.includes(expert) || (held[rank]?.length ?? 0) >= most) continue;
      held[rank]?.push(expert);
      const before = sums[rank] ?? 0;
      sums[rank] = before + (loads[expert] ?? 0) / (counts[expert] ?? 1);
      place(at + 1, held, sums);
      sums[rank] = before;
      held[rank]?.pop();
    }
  };
  place(
    0,
    Array.from({ length: ranks }, () => []),
    Array<number>(ranks).fill(0),
  );
  return best;
}

describe('the busiest rank', () => {
  test('has at most a third more to do than it must', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const [ranks, experts, redundant] = [2 + (seed % 2), 4 + (seed % 3), seed % 4];
      const loads = skewed(experts, seed);
      const owners = placeExperts(loads, { ranks, redundant });
      const found = Math.max(...rankLoads(loads, owners, ranks));
      const best = bestPossible(
        loads,
        owners.map((own) => own.length),
        ranks,
      );
      expect(found).toBeLessThanOrEqual(best * (4 / 3) + 1e-9);
    }
  });

  test('has less to do with copies than without, and of many experts hardly more than the mean', () => {
    for (let seed = 1; seed <= 10; seed++) {
      // The hottest has more to do than an eighth of all.
      const loads = Array.from({ length: 128 }, (_, i) => Math.floor(10_000 / (1 + ((i * 37 + seed) % 128))));
      const mean = loads.reduce((a, b) => a + b) / 8;
      const busiest = (redundant: number): number =>
        Math.max(...rankLoads(loads, placeExperts(loads, { ranks: 8, redundant }), 8));
      expect(busiest(0)).toBeGreaterThan(1.4 * mean);
      expect(busiest(1)).toBeLessThan(1.05 * mean);
      expect(busiest(32)).toBeLessThan(1.01 * mean);
    }
  });
});

test('more copies than ranks have room for are refused with all numbers', () => {
  const refused = (message: string): unknown => expect.objectContaining({ code: 'ERR_EXPERT_PLACEMENT', message });
  expect(() => placeExperts([1, 1, 1, 1], { ranks: 2, redundant: 5 })).toThrow(
    refused(
      '--num-redundant-experts is 5, and 4 experts over 2 ranks have room for 4 more copies, one of each on every rank; choose fewer, or more ranks',
    ),
  );
  expect(() => placeExperts([1, 1], { ranks: 1, redundant: 1 })).toThrow(
    refused(
      '--num-redundant-experts is 1, and 2 experts over 1 rank have room for 0 more copies, one of each on every rank; choose fewer, or more ranks',
    ),
  );
});
