import { createHash } from 'node:crypto';
import type { ProgramSpec } from '@skein/native';
import { dequantize } from '@skein/models/testing';
import { describe, expect, test } from 'vitest';
import { expectGreedyIds, expectIdentical, relativeDeviation } from './comparison.ts';
import { chunksOf, Driver, whole } from './driver.ts';
import { quantizedNames, readQuantizedFixture, stageSpecs } from './fixture.ts';
import { openInterpreted } from '../support/pipeline.ts';

/** By module: what its parts stand for, in the order of their rows. */
function weightHashes({ weights }: ProgramSpec): Record<string, string> {
  const hashes = new Map<string, ReturnType<typeof createHash>>();
  for (const { name, shape, stored, firstRow } of weights) {
    if (stored.format === 'plain') continue;
    const module = name.replace(/\.weight(\[.*\])?$/, '');
    const hash = hashes.get(module) ?? createHash('sha256');
    hashes.set(module, hash.update(new Uint8Array(dequantize({ shape, firstRow }, stored).buffer)));
  }
  return Object.fromEntries([...hashes].map(([module, hash]) => [module, hash.digest('hex')]));
}

// Quantized checkpoints, as the libraries of their formats write them, mean what those libraries say they do.
describe.each(quantizedNames)('recorded %s', (name) => {
  test('every weight stands for the floats that the library takes it for', async () => {
    const fixture = await readQuantizedFixture(name);
    const [spec] = stageSpecs(fixture, { stages: 1, dtype: 'f32' });
    expect(spec && weightHashes(spec)).toEqual(fixture.weightHashes);
  });

  test('one and two stages give the logits and greedy ids of transformers with those floats', async () => {
    const fixture = await readQuantizedFixture(name);
    const open = (stages: number) =>
      new Driver(openInterpreted(stageSpecs(fixture, { stages, dtype: 'f32' })), fixture.model.config.vocabSize);
    const found = await open(1).generate(fixture.cases, whole);
    expectGreedyIds(fixture, found);
    expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
    expectIdentical(await open(2).generate(fixture.cases, chunksOf(16)), found);
  }, 60_000);
});
