import { describe, test } from 'vitest';
import { expectGreedyIds, expectIdentical } from './comparison.ts';
import { Driver, randomChunks, whole } from './driver.ts';
import { fixtureNames, readFixture, type ReferenceModel, stageSpecs } from './fixture.ts';
import { openInterpreted } from '../support/pipeline.ts';

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
    const wanted = await open(1, 1).generate(fixture.cases, whole);
    for (const size of tensorSizes(fixture).slice(-1)) {
      const found = await open(size, 1 + (size % 2)).generate(fixture.cases, randomChunks(size));
      expectGreedyIds(fixture, found);
      expectIdentical(found, wanted);
    }
  }, 60_000);
});
