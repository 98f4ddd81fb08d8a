import { describe, expect, it } from 'vitest';
import { type PlantedBug, plantedBugs } from './testing/simulation/planted-bugs.ts';
import { simulate } from './testing/simulation/simulation.ts';

/** Guards the scheduler and the KV cache under pressure: accounts add up, no block is shared between different tokens or
 *  owners, nobody reads what is not there, budgets hold, whoever is first advances, and all ends with the right tokens. */
const SEEDS = 10_000;

describe('the simulation', () => {
  it(`finds nothing wrong (${SEEDS} seeds)`, { timeout: 300_000 }, () => {
    const totals: Record<string, number> = {};
    for (let seed = 1; seed <= SEEDS; seed++) {
      const counts = simulate(seed);
      expect(counts.steps, `steps of seed ${seed}`).toBeGreaterThanOrEqual(200);
      expect(counts.requests, `requests of seed ${seed}`).toBeGreaterThanOrEqual(20);
      for (const [name, n] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + n;
    }
    // The lives must meet what they are here to meet.
    for (const [name, n] of Object.entries(totals)) expect(n, name).toBeGreaterThan(SEEDS / 10);
  });

  it.each<[PlantedBug, number, RegExp]>([
    ['a shared block freed twice', 2, /counts 0 owners, has 1/],
    ['a slot off by one at a block edge', 1, /beyond a block table/],
    ['a block cached one token early', 2, /foreign or stale context/],
    ["a victim's tokens counted twice", 1, /got a token that no step owed it/],
    ['a hash hit taken without comparing tokens', 3, /removed before its suffix/],
    ['a lost wake-up after preemption', 1, /nothing runs and \d+ requests are not done/],
  ])('finds %s, by seed %i', (bug, seed, symptom) => {
    expect(() => simulate(seed, plantedBugs[bug])).toThrow(symptom);
  });
});
