import { expect, test } from 'vitest';
import { kvBlockBytes, kvBlocksInBudget } from './kv-cache-size.ts';
import { rankCacheLayers } from './rank-cache-layers.ts';
import { hasBlock, layerBlocks, type LayerRange, stageLayers } from './stage-layers.ts';

const counts = (layers: number, stages: number) => stageLayers(layers, stages, null).map(([first, end]) => end - first);

test('leftover layers go to the stages before the last', () => {
  expect(counts(8, 4)).toEqual([2, 2, 2, 2]);
  expect(counts(9, 4)).toEqual([2, 2, 3, 2]);
  expect(counts(10, 4)).toEqual([2, 3, 3, 2]);
  expect(counts(11, 4)).toEqual([3, 3, 3, 2]);
  expect(counts(5, 2)).toEqual([3, 2]);
  expect(counts(7, 1)).toEqual([7]);
});

test('every split covers all layers in order', () => {
  for (let layers = 1; layers <= 40; layers++) {
    for (let stages = 1; stages <= layers; stages++) {
      const split = stageLayers(layers, stages, null);
      expect(split.flatMap(([first, end]) => Array.from({ length: end - first }, (_, i) => first + i))).toEqual(
        Array.from({ length: layers }, (_, i) => i),
      );
      expect(split.every(([first, end]) => end > first)).toBe(true);
    }
  }
});

test('a partition is taken as it stands', () => {
  expect(stageLayers(6, 3, [1, 4, 1])).toEqual([
    [0, 1],
    [1, 5],
    [5, 6],
  ]);
  expect(stageLayers(6, 3, [0.5, 4, 1.5])).toEqual([
    [0, 0.5],
    [0.5, 4.5],
    [4.5, 6],
  ]);
});

test('a half lies between the attention of a layer and its feed-forward', () => {
  const blocks = (range: LayerRange): string =>
    layerBlocks(range)
      .map(({ layer, kind }) => `${kind === 'attention' ? 'a' : 'f'}${layer}`)
      .join(' ');
  expect(blocks([0, 2])).toBe('a0 f0 a1 f1');
  expect(blocks([1, 2.5])).toBe('a1 f1 a2');
  expect(blocks([2.5, 4])).toBe('f2 a3 f3');
  expect(blocks([2.5, 3])).toBe('f2');
});

test('each block is of one stage, and keys and values are kept where the attention is', () => {
  const kvCacheLayers = Array.from(
    { length: 4 },
    (_, i) => ({ kind: 'heads', numKVHeads: 1, headDim: 2 + 2 * i }) as const,
  );
  const stages = stageLayers(4, 4, [0.5, 0.5, 1.5, 1.5]);
  for (let layer = 0; layer < 4; layer++)
    for (const kind of ['attention', 'feedForward'] as const)
      expect(stages.filter((range) => hasBlock(range, { layer, kind }))).toHaveLength(1);
  const kept = stages.map((range) => rankCacheLayers({ kvCacheLayers }, range, { rank: 0, size: 1 }));
  expect(kept).toEqual([[kvCacheLayers[0]], [], kvCacheLayers.slice(1, 3), [kvCacheLayers[3]]]);
});

test.each([
  [4, 5, null, /between 1 and 4/],
  [4, 2, [4], /1 entries for 2/],
  [4, 2, [2, 3], /adds up to 5 layers; the model has 4/],
  [4, 2, [4, 0], /holds 0; give every stage at least half a layer/],
  [4, 2, [1.25, 2.75], /1\.25,2\.75 holds 1\.25; .* in steps of a half/],
  [4, 2, [1.5, 2], /adds up to 3\.5 layers; the model has 4/],
])('%i layers over %i stages as %j are refused', (layers, stages, partition, message) => {
  expect(() => stageLayers(layers, stages, partition)).toThrow(
    expect.objectContaining({ code: 'ERR_STAGE_SPLIT', message: expect.stringMatching(message) }),
  );
});

test('a quantized block has a scale for each row, of a latent row two', () => {
  const heads = { kind: 'heads', numKVHeads: 2, headDim: 9 } as const;
  const latent = { kind: 'latent', latentDim: 20, ropeDim: 6 } as const;
  for (const dtype of ['i8', 'f8e4m3'] as const) {
    const bytes = kvBlockBytes([heads, latent], { blockSize: 5, dtype });
    expect(bytes).toBe(2 * 2 * (48 + 5 * 4) + (132 + 2 * 5 * 4));
  }
});

test('a block counts K and V of every layer of the stage', () => {
  const layers = Array.from({ length: 4 }, () => ({ kind: 'heads', numKVHeads: 8, headDim: 64 }) as const);
  const bytes = kvBlockBytes(layers, { blockSize: 16, dtype: 'bf16' });
  expect(bytes).toBe(2 * 4 * 8 * 64 * 16 * 2);
  expect(kvBlocksInBudget(10 * bytes - 1, bytes)).toBe(9);
  expect(kvBlocksInBudget(-1, bytes)).toBe(0);
  expect(kvBlocksInBudget(0, kvBlockBytes([], { blockSize: 16, dtype: 'bf16' }))).toBe(Infinity);
});
