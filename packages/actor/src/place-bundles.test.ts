import { expect, test } from 'vitest';
import { placeBundles } from './place-bundles.ts';
import type { Resources } from './resources.ts';

const cpu = (n: number): Resources => ({ cpu: n, device: 0 });

test('PACK fills one node first, SPREAD takes another for each while there is one', () => {
  const bundles = [cpu(1), cpu(1), cpu(1)];
  expect(placeBundles(bundles, [cpu(4), cpu(4)], 'PACK')).toEqual([0, 0, 0]);
  expect(placeBundles(bundles, [cpu(2), cpu(1)], 'PACK')).toEqual([0, 0, 1]);
  expect(new Set(placeBundles(bundles, [cpu(4), cpu(4), cpu(4)], 'SPREAD'))).toEqual(new Set([0, 1, 2]));
  expect(placeBundles(bundles, [cpu(4), cpu(4)], 'SPREAD')?.toSorted()).toEqual([0, 0, 1]);
});

test('STRICT_SPREAD puts no two on one node, or places nothing', () => {
  expect(placeBundles([cpu(1), cpu(1)], [cpu(8)], 'STRICT_SPREAD')).toBeNull();
  expect(placeBundles([cpu(1), cpu(3)], [cpu(3), cpu(1)], 'STRICT_SPREAD')).toEqual([1, 0]);
});

test('both resources count, and a first choice that leads nowhere is taken back', () => {
  const device: Resources = { cpu: 1, device: 1 };
  expect(placeBundles([cpu(1), device], [device, cpu(1)], 'PACK')).toEqual([1, 0]);
  // By devices the larger bundle goes first, to the node with more of them, where the other one alone would fit.
  const bundles = [
    { cpu: 1, device: 2 },
    { cpu: 4, device: 1 },
  ];
  const nodes = [
    { cpu: 4, device: 3 },
    { cpu: 1, device: 2 },
  ];
  expect(placeBundles(bundles, nodes, 'STRICT_SPREAD')).toEqual([1, 0]);
  expect(placeBundles([cpu(3), cpu(3)], [cpu(4)], 'PACK')).toBeNull();
});

test('a hopeless search ends', () => {
  const bundles = Array.from({ length: 40 }, () => cpu(2));
  const nodes = Array.from({ length: 39 }, () => cpu(3));
  expect(placeBundles(bundles, nodes, 'SPREAD')).toBeNull();
});

test('nothing wanted, nothing placed', () => {
  expect(placeBundles([], [], 'PACK')).toEqual([]);
});
