import { type ExpertPlacement, placeMixtures } from '@skein/models';
import type { ExpertLoad } from '@skein/native';
import { describe, expect, test } from 'vitest';
import { expectIdentical } from './comparison.ts';
import { chunksOf, randomChunks, whole } from './driver.ts';
import { readFixture, readQuantizedFixture, type ReferenceModel, stageSpecs, twoWithinLayers } from './fixture.ts';
import { alone, expectSameBits, isBuilt, ofOneRank, withDriver } from './native-driver.ts';
import { keepToOneCore } from '../support/one-core.ts';

const TIMEOUT_MS = 120_000;

// More ranks than cores wait for each other many times a step.
keepToOneCore();

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
      for (const [split, numRanks] of [
        [{}, 1],
        [{ tensorSize: 2 }, 2],
        [{ tensorSize: 3, partition: twoWithinLayers }, 6],
      ] as const) {
        await withDriver(fixture, { ...split, threads: 2 }, async (driver) => {
          await alone(driver, fixture, chunksOf(7));
          await driver.generate(fixture.cases, randomChunks(5), { feedback: true });
          const { numTokens, loads } = driver.expertWork;
          expect(loads).toHaveLength(numRanks);
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

describe.skipIf(!isBuilt)('experts of which ranks have copies', () => {
  const placed = (fixture: ReferenceModel, ranks: number, redundant: number): ExpertPlacement[] =>
    placeMixtures(mixturesOf(fixture), { ranks, redundant, loads: null });

  test.each([
    ['mixtral/4-experts', 2, 1],
    ['mixtral/4-experts', 2, 4],
    ['mixtral/6-experts-top3-head12-window-bfloat16', 3, 2],
    ['qwen2-moe/every-second-no-biases-bfloat16', 2, 3],
    ['qwen3-moe/every-layer', 4, 2],
    ['deepseek-v2/grouped-yarn', 4, 11],
    ['deepseek-v3/half-split-bfloat16', 2, 1],
  ] as const)(
    '%s over %i ranks, %i of them: the bits of one rank, and every token once',
    async (name, tensorSize, redundant) => {
      const fixture = await readFixture(name);
      const wanted = await ofOneRank(fixture);
      const expertPlacements = placed(fixture, tensorSize, redundant);
      await withDriver(fixture, { tensorSize, threads: 2, expertPlacements }, async (driver) => {
        expectIdentical(await alone(driver, fixture, whole), wanted);
        expectIdentical(await driver.generate(fixture.cases, randomChunks(tensorSize), { feedback: true }), wanted);
        const { numTokens, loads } = driver.expertWork;
        const sums = totals(loads);
        for (const { layer, topK } of mixturesOf(fixture))
          expect((sums.get(layer) ?? []).reduce((a, b) => a + b)).toBe(numTokens * topK);
      });
    },
    TIMEOUT_MS,
  );

  test.each([
    ['mixtral/6-experts-top3-head12-window-bfloat16', 2, 3],
    ['deepseek-v3/no-groups', 2, 1],
  ] as const)(
    '%s in 4 bits over %i ranks, %i of them: the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (name, tensorSize, redundant) => {
      const fixture = await readFixture(name);
      const expertPlacements = placed(fixture, tensorSize, redundant);
      await expectSameBits(fixture, { partition: twoWithinLayers, tensorSize, quantization: 'int4', expertPlacements });
    },
    TIMEOUT_MS,
  );

  test('of a quantized checkpoint', async () => {
    const fixture = await readQuantizedFixture('ct-mixtral-w4a16');
    const wanted = await ofOneRank(fixture);
    const found = await withDriver(fixture, { tensorSize: 2, expertPlacements: placed(fixture, 2, 2) }, (driver) =>
      alone(driver, fixture, whole),
    );
    expectIdentical(found, wanted);
  });

  describe('share their tokens', async () => {
    const fixture = await readFixture('mixtral/4-experts');
    /** What experts have computed of the prompts, all in one step. */
    const work = async (tensorSize: number, expertPlacements: readonly ExpertPlacement[]): Promise<ExpertLoad[][]> =>
      withDriver(fixture, { tensorSize, expertPlacements }, async (driver) => {
        const prompts = fixture.cases.map((one) => ({ ...one, greedyTokenIds: [] }));
        await driver.generate(prompts, whole);
        return driver.expertWork.loads;
      });
    /** By layer, how much more the busiest rank has to do than the mean one. */
    const unevenness = (loads: readonly (readonly ExpertLoad[])[]): number[] =>
      mixturesOf(fixture).map(({ layer }) => {
        const sums = loads.map((rank) => rank.find((one) => one.layer === layer)?.tokens.reduce((a, b) => a + b) ?? 0);
        return (Math.max(...sums) * sums.length) / sums.reduce((a, b) => a + b);
      });

    test('so that ranks have about as much to do, where placed by what was counted', async () => {
      const loads = totals(await work(1, []));
      const placedByLoad = (redundant: number): ExpertPlacement[] =>
        placeMixtures(mixturesOf(fixture), { ranks: 4, redundant, loads });
      const without = unevenness(await work(4, placedByLoad(0)));
      const with4 = unevenness(await work(4, placedByLoad(4)));
      // One expert on each rank: the hottest one's rank has what it has.
      for (const ratio of without) expect(ratio).toBeGreaterThan(1.3);
      for (const ratio of with4) expect(ratio).toBeLessThan(1.1);
    });

    test('whatever they were copied for', async () => {
      // One rank has all experts but for one, and the other gets copies of them.
      const lopsided = mixturesOf(fixture).map(({ layer, numExperts }) => ({
        layer,
        owners: Array.from({ length: numExperts }, (_, id) => [id === 0 ? 0 : 1]),
      }));
      const copied = lopsided.map(({ layer, owners }) => ({ layer, owners: owners.map(() => [0, 1]) }));
      for (const ratio of unevenness(await work(2, lopsided))) expect(ratio).toBeGreaterThan(1.2);
      for (const ratio of unevenness(await work(2, copied))) expect(ratio).toBeLessThan(1.1);
    });
  });
});
