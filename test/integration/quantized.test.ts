import { describe, expect, test } from 'vitest';
import { deviation, expectGreedyIds, relativeDeviation } from './comparison.ts';
import { continued, whole } from './driver.ts';
import { quantizedNames, readFixture, readQuantizedFixture } from './fixture.ts';
import { expectSameBits, isBuilt, ofOneRank, withDriver } from './native-driver.ts';

const TIMEOUT_MS = 120_000;

// The addon computes with quantized checkpoints what transformers does with the floats that they stand for.
describe.skipIf(!isBuilt).each(quantizedNames)('native %s', (name) => {
  test(
    'logits are those of transformers in f32 with the same weights, but for rounded activations',
    async () => {
      const fixture = await readQuantizedFixture(name);
      const found = await withDriver(fixture, { dtype: 'f32' }, (driver) =>
        driver.generate(fixture.cases.map(continued), whole),
      );
      // Weights of fp8 meet activations of f32: only the order of sums differs.
      if (fixture.activationDeviation === null) expect(relativeDeviation(fixture, found)).toBeLessThanOrEqual(1e-4);
      // Where a value lies half way between two codes that order decides, and the rest follows from there.
      else expect(deviation(fixture, found)).toBeLessThanOrEqual(1.2 * fixture.activationDeviation);
    },
    TIMEOUT_MS,
  );

  test.runIf(name.includes('fp8'))(
    'greedy ids are those of transformers',
    async () => {
      const fixture = await readQuantizedFixture(name);
      expectGreedyIds(fixture, await ofOneRank(fixture, { dtype: 'f32' }));
    },
    TIMEOUT_MS,
  );

  test.each([1, 2])(
    '%i stages give the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (stages) => expectSameBits(await readQuantizedFixture(name), { stages }),
    TIMEOUT_MS,
  );
});

describe.skipIf(!isBuilt).each(['int8', 'int4', 'int4-g128', 'fp8'] as const)('--quantization %s', (quantization) => {
  test.each(['llama/gqa-bfloat16', 'qwen2-moe/every-second-no-biases-bfloat16', 'deepseek-v3/half-split-bfloat16'])(
    'two stages of %s give the same bits alone, in chunks, by feedback, preempted and among 31 others',
    async (name) => expectSameBits(await readFixture(name), { stages: 2, quantization }),
    TIMEOUT_MS,
  );
});
