import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { resolveDtype } from '@skein/models';
import type { Dtype, NativeAddon } from '@skein/native';
import { describe, expect, test } from 'vitest';
import { deviation, expectGreedyIds, expectIdentical, relativeDeviation } from './comparison.ts';
import { type Chunking, chunksOf, continued, Driver, type Generation, randomChunks, whole } from './driver.ts';
import { type Fixture, fixtureNames, readFixture, stageSpecs } from './fixture.ts';
import { openNative } from '../support/pipeline.ts';

const TIMEOUT_MS = 120_000;
const ADDON = fileURLToPath(new URL('../../native/build/skein.node', import.meta.url));
const isBuilt = existsSync(ADDON);
const addon: NativeAddon | null = isBuilt ? createRequire(import.meta.url)(ADDON) : null;

const chunkings: readonly Chunking[] = [chunksOf(1), chunksOf(7), chunksOf(16), randomChunks(7)];

async function withDriver<T>(
  fixture: Fixture,
  options: { stages?: number; threads?: number; dtype?: Dtype },
  use: (driver: Driver) => Promise<T>,
): Promise<T> {
  if (addon === null) throw new Error('the addon is not built');
  const dtype = options.dtype ?? resolveDtype('auto', fixture.model.config, fixture.tensors);
  await using pipeline = await openNative(addon, stageSpecs(fixture, options.stages ?? 1, dtype), options.threads ?? 1);
  return await use(new Driver(pipeline, fixture.model.config.vocabSize));
}

/** Every prompt by itself: the way that all others are held against. */
async function alone(driver: Driver, fixture: Fixture, chunking: Chunking): Promise<Generation[]> {
  const found: Generation[] = [];
  for (const wanted of fixture.cases) found.push(...(await driver.generate([wanted], chunking)));
  return found;
}

// The addon gives the tokens of transformers, and the same bits however the work is cut. Without a build
// (scripts/build-native makes one) there is nothing to run.
describe.skipIf(!isBuilt).each(fixtureNames)('native %s', (name) => {
  test(
    'logits and greedy ids are those of transformers in f32',
    async () => {
      const fixture = await readFixture(name);
      const found = await withDriver(fixture, { dtype: 'f32' }, (driver) => alone(driver, fixture, whole));
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
      const found = await withDriver(fixture, {}, (driver) => alone(driver, fixture, whole));
      expect(deviation(fixture, found)).toBeLessThan(1.5 * fixture.storageTypeDeviation);
    },
    TIMEOUT_MS,
  );

  test.each([1, 2, 4])(
    '%i stages give the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (stages) => {
      const fixture = await readFixture(name);
      const wanted = await withDriver(fixture, {}, (driver) => alone(driver, fixture, whole));
      await withDriver(fixture, { stages, threads: 2 }, async (driver) => {
        expectIdentical(await alone(driver, fixture, whole), wanted);
        for (const chunking of chunkings) {
          expectIdentical(await alone(driver, fixture, chunking), wanted);
          expectIdentical(await driver.generate(fixture.cases, chunking, { feedback: true }), wanted);
        }
        const crowd = Array.from({ length: 32 }, (_, i) => i % wanted.length);
        const found = await driver.generate(
          crowd.flatMap((i) => fixture.cases[i] ?? []),
          randomChunks(32),
          { preempted: true },
        );
        expectIdentical(
          found,
          crowd.flatMap((i) => wanted[i] ?? []),
        );
      });
    },
    TIMEOUT_MS,
  );

  test.each([1, 2, 4])(
    '%i stages with batches in flight give the same ids',
    async (stages) => {
      const fixture = await readFixture(name);
      const wanted = await withDriver(fixture, {}, (driver) => alone(driver, fixture, whole));
      const ids = await withDriver(fixture, { stages, threads: 2 }, (driver) =>
        driver.generateAhead(fixture.cases, Math.min(stages, 3)),
      );
      expect(ids).toEqual(wanted.map((g) => g.tokenIds));
    },
    TIMEOUT_MS,
  );
});
