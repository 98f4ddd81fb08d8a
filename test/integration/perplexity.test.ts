import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { buildStageProgram, type QuantizationOption, readCheckpointTensors, readModel } from '@skein/models';
import { GREEDY_ROW, type NativeAddon, packStepInput, unpackStepOutput } from '@skein/native';
import { beforeAll, describe, expect, test } from 'vitest';
import { type HeldOutText, readHeldOutTexts } from '../support/held-out-text.ts';

const ADDON = fileURLToPath(new URL('../../native/build/skein.node', import.meta.url));
const MODEL = fileURLToPath(new URL('../../examples/tiny-chat/', import.meta.url));
const isBuilt = existsSync(ADDON);

const BLOCK_SIZE = 16;
const MAX_TOKENS = 2048;
const NUM_BLOCKS = MAX_TOKENS / BLOCK_SIZE;
const limits = {
  maxTokens: MAX_TOKENS,
  maxSeqs: 1,
  maxRows: MAX_TOKENS,
  maxModelLen: MAX_TOKENS,
  maxLogprobs: 0,
  numSlots: 1,
};
const kvCache = { numBlocks: NUM_BLOCKS, blockSize: BLOCK_SIZE, dtype: 'bf16' as const };

interface Perplexity {
  /** Of what the assistant says, which is all that tiny-chat was trained on. */
  readonly spoken: number;
  /** Of every token. The model guesses at what users say, so that damage to its weights shows here first. */
  readonly whole: number;
}

/** Of tiny-chat, every token of every text scored by the addon. */
async function perplexity(quantization: QuantizationOption, texts: readonly HeldOutText[]): Promise<Perplexity> {
  const addon: NativeAddon = createRequire(import.meta.url)(ADDON);
  const device = addon.createDevice({ backend: 'cpu', threads: 2 });
  const [model, tensors] = [await readModel(MODEL), await readCheckpointTensors(MODEL)];
  const stage = { stages: 1, stage: 0, layers: [0, model.config.numLayers] as const, limits, kvCache };
  const program = addon.createProgram(device, buildStageProgram({ model, tensors, quantization, ...stage }));
  try {
    await program.load(null);
    const sums = { spoken: 0, numSpoken: 0, whole: 0, numWhole: 0 };
    for (const [step, { tokenIds, isSpoken }] of texts.entries()) {
      const rows = tokenIds.slice(1).map((target, token) => ({ ...GREEDY_ROW, token, target, numLogprobs: 0 }));
      const blockIds = Array.from({ length: NUM_BLOCKS }, (_, i) => i);
      const sequences = [{ tokenIds, numComputedTokens: 0, blockIds }];
      const input = { step, feedbackStep: step - 1, sequences, rows, maxLogprobs: 0, rules: [] };
      const output = unpackStepOutput((await program.run(packStepInput(input), 60_000)).words);
      for (const [i, { logprob }] of output.entries()) {
        sums.whole -= logprob ?? NaN;
        sums.numWhole += 1;
        if (!isSpoken[i + 1]) continue;
        sums.spoken -= logprob ?? NaN;
        sums.numSpoken += 1;
      }
    }
    return { spoken: Math.exp(sums.spoken / sums.numSpoken), whole: Math.exp(sums.whole / sums.numWhole) };
  } finally {
    program.close();
    device.close();
  }
}

// Without a build (scripts/build-native makes one) there is nothing to run.
describe.skipIf(!isBuilt)('perplexity of tiny-chat on text that was held out', () => {
  let texts: HeldOutText[] = [];
  let plain: Perplexity = { spoken: NaN, whole: NaN };
  beforeAll(async () => {
    texts = await readHeldOutTexts();
    plain = await perplexity('none', texts);
  }, 120_000);

  test('in bf16 it is that of transformers with the same weights in f32', () => {
    // `python examples/tiny-chat/perplexity.py` measures both.
    expect(plain.spoken).toBeCloseTo(1.0126, 3);
    expect(plain.whole / 1993.07).toBeCloseTo(1, 2);
  });

  test.each([
    ['int8', 0.02],
    ['fp8', 0.02],
    ['int4', 0.05],
    ['int4-g128', 0.05],
  ] as const)(
    '%s stays within %f of bf16',
    async (quantization, share) => {
      const found = await perplexity(quantization, texts);
      const measured = `${quantization}: ${JSON.stringify(found)}; bf16: ${JSON.stringify(plain)}`;
      expect(Math.abs(found.spoken / plain.spoken - 1), measured).toBeLessThanOrEqual(share);
      expect(found.whole / plain.whole - 1, measured).toBeLessThanOrEqual(share);
    },
    120_000,
  );
});
