import type { EngineStats } from '@skein/engine';
import { expect, test } from 'vitest';
import type { Replica } from './replica.ts';
import { Replicas } from './replicas.ts';

type Load = Pick<EngineStats, 'state' | 'numRunning' | 'numWaiting' | 'kvCacheUsage'>;

function chosen(wanted: number | null, ...loads: Partial<Load>[]): number {
  const all = loads.map((load, index) => ({
    index,
    engine: { stats: () => ({ state: 'serving', numRunning: 0, numWaiting: 0, kvCacheUsage: 0, ...load }) },
  }));
  return new Replicas(all as unknown as Pick<Replica, 'index' | 'engine'>[]).choose(wanted).index;
}

test('the replica that a request names computes it, else the one with the fewest requests, then the emptiest', () => {
  expect(chosen(1, {}, { numRunning: 5 })).toBe(1);
  expect(chosen(null, { numRunning: 2 }, { numWaiting: 1 }, { numRunning: 3 })).toBe(1);
  expect(chosen(null, { kvCacheUsage: 0.5 }, { kvCacheUsage: 0.25 })).toBe(1);
  expect(chosen(null, {}, {})).toBe(0);
});

test('one that is not serving is chosen only when none is', () => {
  expect(chosen(null, { state: 'waiting-for-executor' }, { numRunning: 9 })).toBe(1);
  expect(chosen(null, { state: 'waiting-for-executor', numWaiting: 2 }, { state: 'waiting-for-executor' })).toBe(1);
});
