import { describe, expect, test } from 'vitest';
import { expectGreedyIds, expectIdentical, relativeDeviation } from './comparison.ts';
import { Driver, randomChunks, whole } from './driver.ts';
import {
  fixtureNames,
  quantizedNames,
  readFixture,
  readQuantizedFixture,
  type ReferenceModel,
  stageSpecs,
  twoWithinLayers,
} from './fixture.ts';
import { alone, expectSameBits, isBuilt, ofOneRank, withDriver } from './native-driver.ts';
import { keepToOneCore } from '../support/one-core.ts';
import { openInterpreted } from '../support/pipeline.ts';

const TIMEOUT_MS = 120_000;

// More ranks than cores wait for each other many times a step.
keepToOneCore();

/** Ranks that every fixture has heads for, as many as it has. */
function tensorSizes({ model }: ReferenceModel): number[] {
  const config = model.config as unknown as {
    readonly numHeads?: number;
    readonly heads?: { readonly numHeads: number };
  };
  const numHeads = config.numHeads ?? config.heads?.numHeads ?? 1;
  return [2, 3, 4].filter((size) => size <= numHeads);
}

// Key-value heads fewer than ranks, heads, vocabularies and experts that ranks do not divide: the fixtures have them all.
describe.each(fixtureNames)('%s over ranks that share each layer', (name) => {
  test('the recorded programs give the greedy ids of transformers', async () => {
    const fixture = await readFixture(name);
    const open = (tensorSize: number, stages: number): Driver =>
      new Driver(
        openInterpreted(stageSpecs(fixture, { stages, tensorSize, dtype: 'f32' })),
        fixture.model.config.vocabSize,
      );
    for (const size of tensorSizes(fixture).slice(-1)) {
      const found = await open(size, 1 + (size % 2)).generate(fixture.cases, randomChunks(size));
      expectGreedyIds(fixture, found);
      expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
    }
  }, 60_000);

  test.skipIf(!isBuilt)(
    'the addon gives the bits of one rank, whatever the number of ranks and stages',
    async () => {
      const fixture = await readFixture(name);
      const wanted = await ofOneRank(fixture);
      for (const tensorSize of tensorSizes(fixture)) {
        await withDriver(fixture, { tensorSize, stages: 1 + (tensorSize % 2), threads: 2 }, async (driver) => {
          expectIdentical(await alone(driver, fixture, whole), wanted);
          expectIdentical(await driver.generate(fixture.cases, randomChunks(tensorSize), { feedback: true }), wanted);
        });
      }
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(!isBuilt).each(quantizedNames)('quantized %s over ranks that share each layer', (name) => {
  test(
    'the addon gives the bits of one rank, act-order and scales of whole rows included',
    async () => {
      const fixture = await readQuantizedFixture(name);
      const wanted = await ofOneRank(fixture);
      const sizes = tensorSizes(fixture);
      expect(sizes).not.toEqual([]);
      for (const tensorSize of sizes) {
        const found = await withDriver(fixture, { tensorSize }, (driver) => alone(driver, fixture, whole));
        expectIdentical(found, wanted);
      }
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(!isBuilt)('two ranks and two stages that share a layer', () => {
  test.each(['llama/gqa-bfloat16', 'qwen2-moe/every-second-no-biases-bfloat16', 'deepseek-v3/half-split-bfloat16'])(
    'of %s, quantized to 4 bits, give the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (name) =>
      expectSameBits(await readFixture(name), { partition: twoWithinLayers, tensorSize: 2, quantization: 'int4' }),
    TIMEOUT_MS,
  );
});
