import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { readGguf } from '@skein/models';
import { decodeGgml } from '@skein/models/testing';
import type { NativeAddon } from '@skein/native';
import { describe, expect, test } from 'vitest';
import { openInterpreted, openNative } from '../support/pipeline.ts';
import { expectGreedyIds, relativeDeviation } from './comparison.ts';
import { Driver, type Generation, whole } from './driver.ts';
import { stageSpecs } from './fixture.ts';
import { convertedNames, type GgufFixture, ownNames, readGgufFixture } from './gguf-fixture.ts';

const TIMEOUT_MS = 120_000;
const ADDON = fileURLToPath(new URL('../../native/build/skein.node', import.meta.url));
const addon: NativeAddon | null = existsSync(ADDON) ? createRequire(import.meta.url)(ADDON) : null;

async function native(fixture: GgufFixture): Promise<Generation[]> {
  if (addon === null) throw new Error('the addon is not built');
  await using pipeline = await openNative(addon, stageSpecs(fixture, { stages: 1, dtype: 'f32' }), 1);
  return await new Driver(pipeline, fixture.model.config.vocabSize).generate(fixture.cases, whole);
}

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

  test.skipIf(addon === null)(
    'so does the addon',
    async () => {
      const fixture = await readGgufFixture(name);
      const found = await native(fixture);
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
});
