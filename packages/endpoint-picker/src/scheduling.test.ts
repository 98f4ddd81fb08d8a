import { expect, test } from 'vitest';
import { LoadEstimate } from './load-estimate.ts';
import { Reservations } from './reservations.ts';
import {
  availableFilter,
  type Endpoint,
  leastLoadedScorer,
  modelFilter,
  notFailedFilter,
  pickEndpoint,
  type SchedulingProfile,
} from './scheduling.ts';

const any = { model: null, failed: new Set<string>() };

function profile(random: () => number = () => 0): SchedulingProfile {
  return { filters: [availableFilter, modelFilter, notFailedFilter], scorers: [leastLoadedScorer], random };
}

function endpoint(name: string, fields: Partial<Endpoint> = {}): Endpoint {
  return { name, model: 'm', available: true, load: 0, ...fields };
}

test('picks the least loaded of those that may take the request', () => {
  const endpoints = [
    endpoint('busy', { load: 5 }),
    endpoint('idle', { load: 1 }),
    endpoint('gone', { available: false }),
    endpoint('other', { model: 'x' }),
    endpoint('failed'),
  ];
  const request = { model: 'm', failed: new Set(['failed']) };
  expect(pickEndpoint(endpoints, request, profile())?.name).toBe('idle');
  expect(pickEndpoint([endpoint('gone', { available: false })], any, profile())).toBeNull();
});

test('breaks ties anew for each request', () => {
  const endpoints = ['a', 'b', 'c'].map((name) => endpoint(name));
  const draws = [0.1, 0.5, 0.99];
  expect(
    draws.map(
      (draw) =>
        pickEndpoint(
          endpoints,
          any,
          profile(() => draw),
        )?.name,
    ),
  ).toEqual(['a', 'b', 'c']);
});

test('a burst spreads over its own picks, and every claim is released once', () => {
  const reservations = new Reservations();
  const names = ['a', 'b', 'c', 'd'];
  const picks = Array.from({ length: 1000 }, () => {
    const endpoints = names.map((name) => endpoint(name, { load: reservations.count(name) }));
    const picked = pickEndpoint(endpoints, any, profile(Math.random));
    return reservations.reserve(picked?.name ?? '');
  });
  for (const name of names) expect(reservations.count(name)).toBe(250);
  for (const pick of picks) {
    pick.release();
    pick.release();
  }
  expect(reservations.total).toBe(0);
});

test("an endpoint's report adds what others have there, and fades", () => {
  const estimate = new LoadEstimate(1000);
  expect(estimate.load(3, 0)).toBe(3);
  estimate.report({ numRequests: 10, ownRequests: 6, nowMs: 0 });
  expect(estimate.load(6, 0)).toBe(10);
  expect(estimate.load(0, 0)).toBe(4);
  expect(estimate.load(0, 1000)).toBe(2);
  estimate.report({ numRequests: 2, ownRequests: 6, nowMs: 1000 });
  expect(estimate.load(6, 1000)).toBe(6);
});
