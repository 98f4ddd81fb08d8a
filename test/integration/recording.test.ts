import { resolveDtype } from '@skein/models';
import { describe, expect, test } from 'vitest';
import { deviation, expectGreedyIds, expectIdentical, relativeDeviation } from './comparison.ts';
import { chunksOf, Driver, randomChunks, whole } from './driver.ts';
import { fixtureNames, fourWithinLayers, readFixture, stageSpecs, type StageSpecsOptions } from './fixture.ts';
import { openInterpreted } from '../support/pipeline.ts';

// The recorded programs, carried out by a plain interpreter, give what transformers gives: what a backend then has to match.
describe.each(fixtureNames)('recorded %s', (name) => {
  test('rope tables are those of transformers', async () => {
    const fixture = await readFixture(name);
    if (fixture.rope === null) return;
    const wanted = bits(fixture.rope.inverseFrequencies);
    for (const op of stageSpecs(fixture, { stages: 1, dtype: 'f32' }).flatMap((spec) => spec.ops)) {
      if (op.op !== 'rope') continue;
      const places = [...bits(op.inverseFrequencies)].map((b, i) => Math.abs(b - (wanted[i] ?? 0)));
      expect(places).toHaveLength(wanted.length);
      expect(Math.max(...places)).toBeLessThanOrEqual(2);
      expect(op.attentionFactor).toBeCloseTo(fixture.rope.attentionFactor, 12);
    }
  });

  test('one stage, two, and four that end within layers give the logits and greedy ids of transformers', async () => {
    const fixture = await readFixture(name);
    const open = (split: Pick<StageSpecsOptions, 'stages' | 'partition'>) =>
      new Driver(openInterpreted(stageSpecs(fixture, { ...split, dtype: 'f32' })), fixture.model.config.vocabSize);
    const found = await open({ stages: 1 }).generate(fixture.cases, whole);
    expectGreedyIds(fixture, found);
    expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
    expectIdentical(await open({ stages: 2 }).generate(fixture.cases, randomChunks(1)), found);
    const four = { partition: fourWithinLayers };
    expectIdentical(await open(four).generate(fixture.cases, chunksOf(16), { feedback: true }), found);
    expect(await open(four).generateAhead(fixture.cases, 3)).toEqual(found.map((g) => g.tokenIds));
  }, 60_000);

  test('a cache of the storage type stays as near as transformers in that type', async () => {
    const fixture = await readFixture(name);
    const dtype = resolveDtype('auto', fixture.model.config, fixture.tensors);
    expect(dtype).toBe({ float32: 'f32', float16: 'f16', bfloat16: 'bf16' }[fixture.storage]);
    if (fixture.storageTypeDeviation === null) return;
    const found = await new Driver(
      openInterpreted(stageSpecs(fixture, { stages: 1, dtype })),
      fixture.model.config.vocabSize,
    ).generate(fixture.cases, whole);
    expect(deviation(fixture, found)).toBeLessThan(1.5 * fixture.storageTypeDeviation);
  }, 60_000);
});

function bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
