import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readGguf } from '@skein/models';
import { decodeGgml } from '@skein/models/testing';
import { describe, expect, test } from 'vitest';
import { openInterpreted } from '../support/pipeline.ts';
import { deviation, expectGreedyIds, relativeDeviation } from './comparison.ts';
import { continued, Driver, type Generation, whole } from './driver.ts';
import { stageSpecs } from './fixture.ts';
import { convertedNames, type GgufFixture, ownNames, readGgufFixture } from './gguf-fixture.ts';
import { alone, isBuilt, withDriver } from './native-driver.ts';

const TIMEOUT_MS = 120_000;

/** What 8-bit activations cost in these models, whose logits reach 8; one that decides between experts nearly evenly may take
 *  another one. */
const deviationMax = (name: string): number => (name.includes('moe') ? 2.5 : 0.7);

async function interpreted(fixture: GgufFixture): Promise<Generation[]> {
  await using pipeline = openInterpreted(stageSpecs(fixture, { stages: 1, dtype: 'f32' }));
  return await new Driver(pipeline, fixture.model.config.vocabSize).generate(fixture.cases, whole);
}

// A converted file is the model that it was made of, whatever the converter renamed, reordered and left out.
describe.each(convertedNames)('GGUF of %s', (name) => {
  test('the recorded program gives the logits and greedy ids of transformers', async () => {
    const fixture = await readGgufFixture(name);
    const found = await interpreted(fixture);
    expectGreedyIds(fixture, found);
    expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
  });

  test.skipIf(!isBuilt)(
    'so does the addon',
    async () => {
      const fixture = await readGgufFixture(name);
      const found = await withDriver(fixture, { dtype: 'f32' }, (driver) => alone(driver, fixture, whole));
      expectGreedyIds(fixture, found);
      expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
    },
    TIMEOUT_MS,
  );
});

describe.each(ownNames)('GGUF %s', (name) => {
  test('blocks stand for what gguf dequantizes them to', async () => {
    const { file, dequantized } = await readGgufFixture(name);
    const bytes = readFileSync(file);
    for (const tensor of readGguf(file).tensors.values()) {
      const { offsetBytes, sizeBytes, dtype } = tensor;
      const values = decodeGgml(dtype, bytes.subarray(offsetBytes, offsetBytes + sizeBytes));
      const digest = createHash('sha256').update(values).digest('hex').slice(0, 16);
      expect([tensor.name, digest]).toEqual([tensor.name, dequantized.get(tensor.name)]);
    }
  });

  test('the recorded program gives the logits and greedy ids of transformers with the dequantized weights', async () => {
    const fixture = await readGgufFixture(name);
    const found = await interpreted(fixture);
    expectGreedyIds(fixture, found);
    expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
  });

  test.skipIf(!isBuilt)(
    'logits of the addon are those of transformers, but for rounded activations',
    async () => {
      const fixture = await readGgufFixture(name);
      const found = await withDriver(fixture, { dtype: 'f32' }, (driver) =>
        driver.generate(fixture.cases.map(continued), whole),
      );
      expect(deviation(fixture, found)).toBeLessThanOrEqual(deviationMax(name));
    },
    TIMEOUT_MS,
  );
});
