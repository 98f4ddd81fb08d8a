import { kvBlockBytes } from '@skein/models';
import { describe, expect, test } from 'vitest';
import { openInterpreted } from '../support/pipeline.ts';
import { relativeDeviation } from './comparison.ts';
import { continued, Driver, type Generation, whole } from './driver.ts';
import { BLOCK_SIZE, type Fixture, NUM_BLOCKS, QUANTIZED_CACHE_FIXTURES, readFixture, stageSpecs } from './fixture.ts';
import { expectSameBits, isBuilt, memoryOf, withDriver } from './native-driver.ts';

const TIMEOUT_MS = 120_000;
const PAGE_BYTES = 4096;
/** How far logits may be from those of f32, as a multiple of how far transformers in bfloat16 is: 1.5 times what is measured. */
const BOUND: Readonly<Record<'f8e4m3' | 'i8', number>> = { f8e4m3: 7.5, i8: 2.6 };

/** The fixture with each continuation as part of its prompt, so that all that is compared is computed from the same tokens. */
async function given(name: string): Promise<Fixture> {
  const fixture = await readFixture(name);
  return { ...fixture, cases: fixture.cases.map(continued) };
}

const cases = QUANTIZED_CACHE_FIXTURES.flatMap((name) => (['f8e4m3', 'i8'] as const).map((dtype) => ({ name, dtype })));

describe.skipIf(!isBuilt).each(cases)('native $name with a cache of $dtype', ({ name, dtype }) => {
  test(
    'keeps logits near those of f32, and does what the interpreter does',
    async () => {
      const fixture = await given(name);
      const generate = (driver: Driver): Promise<Generation[]> => driver.generate(fixture.cases, whole);
      const found = await withDriver(fixture, { dtype }, generate);
      const interpreted = openInterpreted(stageSpecs(fixture, { dtype }));
      const meant = await generate(new Driver(interpreted, fixture.model.config.vocabSize));
      const deviation = relativeDeviation(fixture, found);
      expect(deviation).toBeLessThan(BOUND[dtype] * fixture.bfloat16Deviation);
      // A number between two codes may fall either way.
      expect(between(found, meant)).toBeLessThan(deviation / 20);
    },
    TIMEOUT_MS,
  );

  test.each([1, 2])(
    '%i stages give the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (stages) => expectSameBits(await readFixture(name), { stages, dtype }),
    TIMEOUT_MS,
  );

  test('takes the memory that the leader plans', async () => {
    const fixture = await readFixture(name);
    const { config } = fixture.model;
    const layers = Array.from({ length: config.numLayers }, (_, layer) => {
      const bytes =
        NUM_BLOCKS * kvBlockBytes(config.kvCacheLayers.slice(layer, layer + 1), { blockSize: BLOCK_SIZE, dtype });
      return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    });
    expect(memoryOf(fixture, dtype).kvCacheBytes).toBe(layers.reduce((sum, bytes) => sum + bytes, 0));
  });
});

/** Largest difference between logits, as a share of the position's largest or of 1. */
function between(found: readonly Generation[], other: readonly Generation[]): number {
  let worst = 0;
  for (const [i, { logits }] of found.entries()) {
    for (const [position, row] of logits) {
      const unit = Math.max(1, Math.max(...row.map(Math.abs)));
      const own = other[i]?.logits.get(position);
      for (const [v, x] of row.entries()) worst = Math.max(worst, Math.abs(x - (own?.[v] ?? NaN)) / unit);
    }
  }
  return worst;
}
