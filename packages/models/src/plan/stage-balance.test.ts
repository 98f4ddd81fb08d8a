import { expect, test } from 'vitest';
import { balancedStages, stageBalance } from './stage-balance.ts';

/** Every way to cut `numLayers` layers into `stages`. */
function* partitions(numLayers: number, stages: number): Generator<number[], void> {
  if (stages === 1) {
    yield [numLayers];
    return;
  }
  for (let first = 1; first <= numLayers - stages + 1; first++)
    for (const rest of partitions(numLayers - first, stages - 1)) yield [first, ...rest];
}

test.each([
  [[1, 1, 1, 1, 1, 1], 2],
  [[1, 1, 1, 1, 1, 1, 1, 1], 0],
  [[5, 1, 1, 1, 1, 9, 1], 3],
  [[2, 2, 2, 2, 2], 40],
])('layers of %j and a head of %i are split no worse than any split', (layers, head) => {
  const costs = { layers, head };
  for (let stages = 1; stages <= layers.length; stages++) {
    const all = [...partitions(layers.length, stages)].map((p) => stageBalance(costs, stages, p).slowest);
    const best = balancedStages(costs, stages);
    expect(best.slowest).toBe(Math.min(...all));
    expect(best.partition.reduce((a, b) => a + b)).toBe(layers.length);
  }
});

test('a head that costs as much as two layers takes their place', () => {
  const costs = { layers: [1, 1, 1, 1, 1, 1], head: 2 };
  expect(stageBalance(costs, 2, null)).toEqual({ partition: [3, 3], slowest: 5 });
  expect(balancedStages(costs, 2)).toEqual({ partition: [4, 2], slowest: 4 });
});
