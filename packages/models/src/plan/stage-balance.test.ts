import { expect, test } from 'vitest';
import { balancedStages, stageBalance } from './stage-balance.ts';

/** Every way to cut `numLayers` layers into `stages`, in steps of a layer or of half of one. */
function* partitions(numLayers: number, stages: number, step: 0.5 | 1): Generator<number[], void> {
  if (stages === 1) {
    yield [numLayers];
    return;
  }
  for (let first = step; first <= numLayers - (stages - 1) * step; first += step)
    for (const rest of partitions(numLayers - first, stages - 1, step)) yield [first, ...rest];
}

/** Stages that begin within a layer. */
function numCuts(partition: readonly number[]): number {
  let end = 0;
  return partition.filter((layers) => !Number.isInteger((end += layers))).length;
}

test.each([
  [[1, 2, 1, 2, 1, 2, 1, 2, 1, 2], 0],
  [[1, 3, 1, 3, 1, 3, 1, 3, 1, 3], 5],
  [[5, 5, 1, 0.5, 1, 1, 1, 9, 0.25, 1], 3],
  [[2, 2, 2, 2, 2, 2, 2, 2], 40],
  [[20, 60, 20, 60, 20, 60, 20, 60, 20, 60], 101],
])('of blocks of %j and a head of %i, no split of as few cuts within layers is better', (blocks, head) => {
  const costs = { blocks, head };
  const numLayers = blocks.length / 2;
  for (let stages = 1; stages <= numLayers; stages++) {
    const all = [...partitions(numLayers, stages, 0.5)].map((p) => stageBalance(costs, stages, p));
    const least = Math.min(...all.map(({ slowest }) => slowest));
    const good = all.filter(({ slowest }) => slowest <= 1.01 * least);
    const fewest = Math.min(...good.map(({ partition }) => numCuts(partition)));
    const best = balancedStages(costs, stages);
    expect(best.partition.reduce((a, b) => a + b)).toBe(numLayers);
    const paces = Array.from({ length: stages }, (_, stage) => 1 + ((stage * 7) % 3));
    const uneven = Math.min(
      ...[...partitions(numLayers, stages, 0.5)].map((p) => stageBalance(costs, stages, p, paces).slowest),
    );
    expect(balancedStages(costs, stages, paces).slowest).toBeLessThanOrEqual(1.01 * uneven);
    expect(numCuts(best.partition)).toBe(fewest);
    expect(best.slowest).toBe(
      Math.min(...good.filter(({ partition }) => numCuts(partition) === fewest).map(({ slowest }) => slowest)),
    );
  }
});

test('a head that costs as much as two layers takes their place', () => {
  const costs = { blocks: Array.from({ length: 6 }, () => [0.3, 0.7]).flat(), head: 2 };
  expect(stageBalance(costs, 2, null)).toEqual({ partition: [3, 3], slowest: 5 });
  expect(balancedStages(costs, 2).partition).toEqual([4, 2]);
});

test('a layer is cut where that makes the slowest stage faster by a percent, and whole where it does not', () => {
  const layers = (attention: number): number[] => Array.from({ length: 8 }, () => [attention, 100 - attention]).flat();
  // Five layers are 500, three and the head 530; with the attention of the sixth 505 and 525, or 521 and 509.
  expect(balancedStages({ blocks: layers(5), head: 230 }, 2)).toEqual({ partition: [5, 3], slowest: 530 });
  expect(balancedStages({ blocks: layers(21), head: 230 }, 2)).toEqual({ partition: [5.5, 2.5], slowest: 521 });
  expect(stageBalance({ blocks: layers(21), head: 230 }, 2, [5.5, 2.5]).slowest).toBe(521);
});
