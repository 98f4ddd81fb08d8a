import { describe, expect, test } from 'vitest';
import { deviation, expectGreedyIds, relativeDeviation } from './comparison.ts';
import { continued, whole } from './driver.ts';
import { fixtureNames, fourWithinLayers, readFixture } from './fixture.ts';
import { expectSameBits, isBuilt, ofOneRank, withDriver } from './native-driver.ts';

const TIMEOUT_MS = 120_000;

const SPLITS = [
  ['one stage', { stages: 1 }, 1],
  ['two stages', { stages: 2 }, 2],
  ['four stages that end within layers', { partition: fourWithinLayers }, 3],
] as const;

// The addon gives the tokens of transformers, and the same bits however the work is cut.
describe.skipIf(!isBuilt).each(fixtureNames)('native %s', (name) => {
  test(
    'logits and greedy ids are those of transformers in f32',
    async () => {
      const fixture = await readFixture(name);
      const found = await ofOneRank(fixture, { dtype: 'f32' });
      expectGreedyIds(fixture, found);
      expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
    },
    TIMEOUT_MS,
  );

  test(
    'in bfloat16 logits stay as near to those of f32 as transformers in bfloat16',
    async () => {
      const fixture = await readFixture(name);
      const found = await withDriver(fixture, { dtype: 'bf16' }, (driver) =>
        driver.generate(fixture.cases.map(continued), whole),
      );
      expect(deviation(fixture, found)).toBeLessThanOrEqual(1.5 * fixture.bfloat16Deviation);
    },
    TIMEOUT_MS,
  );

  test(
    'a cache of the storage type stays as near as transformers in that type',
    async () => {
      const fixture = await readFixture(name);
      if (fixture.storageTypeDeviation === null) return;
      const found = await ofOneRank(fixture);
      expect(deviation(fixture, found)).toBeLessThan(1.5 * fixture.storageTypeDeviation);
    },
    TIMEOUT_MS,
  );

  test.each(SPLITS)(
    '%s: the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (_, split) => {
      await expectSameBits(await readFixture(name), split);
    },
    TIMEOUT_MS,
  );

  test.each(SPLITS)(
    '%s: the same ids with batches in flight',
    async (_, split, batches) => {
      const fixture = await readFixture(name);
      const wanted = await ofOneRank(fixture);
      const ids = await withDriver(fixture, { ...split, threads: 2 }, (driver) =>
        driver.generateAhead(fixture.cases, batches),
      );
      expect(ids).toEqual(wanted.map((g) => g.tokenIds));
    },
    TIMEOUT_MS,
  );
});
