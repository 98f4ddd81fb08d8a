import type { ExpertLoad } from '@skein/native';
import { describe, expect, test } from 'vitest';
import { chunksOf, randomChunks } from './driver.ts';
import { readFixture, type ReferenceModel, stageSpecs } from './fixture.ts';
import { alone, isBuilt, withDriver } from './native-driver.ts';

const TIMEOUT_MS = 120_000;

/** Of every layer with a mixture: how many experts it has, and how many of them a token. */
function mixturesOf(fixture: ReferenceModel): { layer: number; numExperts: number; topK: number }[] {
  const ops = stageSpecs(fixture, { dtype: 'f32' }).flatMap((spec) => spec.ops);
  return ops.flatMap((op) => {
    if (op.op !== 'experts' || op.layer === null) return [];
    const route = ops.find((other) => other.op === 'route' && other.out === op.routes);
    return [{ layer: op.layer, numExperts: op.experts.length, topK: route?.op === 'route' ? route.topK : 0 }];
  });
}

/** By layer, by expert: what all ranks have computed. */
function totals(loads: readonly (readonly ExpertLoad[])[]): Map<number, number[]> {
  const sums = new Map<number, number[]>();
  for (const { layer, ids, tokens } of loads.flat()) {
    const sum = sums.get(layer) ?? [];
    sums.set(layer, sum);
    for (const [i, id] of ids.entries()) sum[id] = (sum[id] ?? 0) + (tokens[i] ?? 0);
  }
  return sums;
}

describe.skipIf(!isBuilt)('tokens of experts', () => {
  test.each([
    'mixtral/6-experts-top3-head12-window-bfloat16',
    'qwen2-moe/every-second-no-biases-bfloat16',
    'qwen3-moe/one-dense-layer-window-bfloat16',
    'deepseek-v3/grouped-yarn',
  ])(
    'of %s are counted once, under their layer, whatever the ranks and stages',
    async (name) => {
      const fixture = await readFixture(name);
      const mixtures = mixturesOf(fixture);
      expect(mixtures).not.toEqual([]);
      const counted: Map<number, number[]>[] = [];
      for (const [tensorSize, stages] of [
        [1, 1],
        [2, 1],
        [3, 2],
      ] as const) {
        await withDriver(fixture, { tensorSize, stages, threads: 2 }, async (driver) => {
          await alone(driver, fixture, chunksOf(7));
          await driver.generate(fixture.cases, randomChunks(5), { feedback: true });
          const { numTokens, loads } = driver.expertWork;
          expect(loads).toHaveLength(tensorSize * stages);
          const sums = totals(loads);
          expect([...sums.keys()].sort((a, b) => a - b)).toEqual(mixtures.map(({ layer }) => layer));
          for (const { layer, numExperts, topK } of mixtures) {
            const tokens = sums.get(layer) ?? [];
            expect(tokens).toHaveLength(numExperts);
            expect(tokens.reduce((a, b) => a + b)).toBe(numTokens * topK);
          }
          counted.push(sums);
        });
      }
      for (const other of counted) expect(other).toEqual(counted[0]);
    },
    TIMEOUT_MS,
  );
});
