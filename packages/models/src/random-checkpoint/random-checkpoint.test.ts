import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseModel, readModel } from '../model-registry.ts';
import { checkCheckpoint } from '../checkpoint-check.ts';
import { readCheckpointTensors } from '../checkpoint-tensors.ts';
import { buildStageProgram } from '../stage-program.ts';
import { makeByteTokenizer } from './byte-tokenizer.ts';
import { CHECKPOINT_SHAPES, parseCheckpointShape } from './checkpoint-shapes.ts';
import { writeRandomCheckpoint } from './random-checkpoint.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-checkpoint-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const shape = parseCheckpointShape('layers=3,hidden=32,heads=4,kvHeads=2,vocab=300,maxLen=128');
const write = (name: string, shardBytes: number, seed = 1) =>
  writeRandomCheckpoint({ shape, dir: join(root, name), seed, dtype: 'bf16', shardBytes, signal: null });

test('a sharded checkpoint is whole, loadable and the same each time', async () => {
  const { numFiles } = await write('a', 10_000);
  await write('b', 1e9);
  await write('c', 1e9, 2);
  expect(numFiles).toBeGreaterThan(2);
  const dir = join(root, 'a');
  const model = await readModel(dir);
  const tensors = await readCheckpointTensors(dir);
  const spec = buildStageProgram({
    model,
    tensors,
    stages: 1,
    stage: 0,
    layers: [0, 3],
    limits: { maxTokens: 16, maxSeqs: 1, maxRows: 1, maxModelLen: 128, maxLogprobs: 0, numSlots: 1 },
    kvCache: { numBlocks: 4, blockSize: 16, dtype: 'bf16' },
  });
  expect(spec.weights).toHaveLength(tensors.size);
  const bytes = async (name: string) => {
    const t = (await readCheckpointTensors(join(root, name))).get('model.layers.1.mlp.up_proj.weight');
    return t === undefined ? null : readFileSync(t.file).subarray(t.offsetBytes, t.offsetBytes + t.sizeBytes);
  };
  expect(await bytes('a')).toEqual(await bytes('b'));
  expect(await bytes('a')).not.toEqual(await bytes('c'));
});

test.each(['qwen2.5-0.5b', 'qwen3-0.6b', 'gemma-3-1b'])(
  'a small %s has just the tensors of its family',
  async (name) => {
    const sizes = { vocab_size: 300, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2 };
    const heads = { num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16 };
    const small = { ...parseCheckpointShape(name), ...sizes, ...heads };
    const dir = join(root, name);
    await writeRandomCheckpoint({ shape: small, dir, seed: 1, dtype: 'bf16', shardBytes: 1e9, signal: null });
    const model = await readModel(dir);
    expect(model.config.architecture).toBe(small.architectures[0]);
    expect(checkCheckpoint({ model, tensors: await readCheckpointTensors(dir) })).toEqual([]);
  },
);

test('a directory in use is refused, and a cancelled write leaves nothing', async () => {
  await write('used', 1e9);
  await expect(write('used', 1e9)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_WRITE',
    message: expect.stringMatching(/not empty/),
  });
  const before = await readdir(root);
  const cancelled = writeRandomCheckpoint({
    shape,
    dir: join(root, 'cancelled'),
    seed: 1,
    dtype: 'bf16',
    shardBytes: 1e9,
    signal: AbortSignal.abort(),
  });
  await expect(cancelled).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_WRITE' });
  expect(await readdir(root)).toEqual(before);
});

test.each([261, 300, 32_000, 128_256])('a tokenizer of %i ids names each id once', (size) => {
  const { tokenizer, bosTokenId, eosTokenIds } = makeByteTokenizer(size);
  const { model, added_tokens } = tokenizer as {
    model: { vocab: Record<string, number>; merges: [string, string][] };
    added_tokens: { id: number; content: string }[];
  };
  const ids = [...Object.values(model.vocab), ...added_tokens.map((t) => t.id)].sort((a, b) => a - b);
  expect(ids).toHaveLength(size);
  expect(ids.every((id, i) => id === i)).toBe(true);
  expect(model.merges.every(([a, b]) => a in model.vocab && b in model.vocab && a + b in model.vocab)).toBe(true);
  expect(added_tokens.find((t) => t.id === bosTokenId)?.content).toBe('<|begin_of_text|>');
  expect(eosTokenIds).toHaveLength(2);
});

test('published shapes are valid configs', () => {
  for (const [name, fields] of Object.entries(CHECKPOINT_SHAPES))
    expect(parseModel(fields, name).config.vocabSize).toBe(fields.vocab_size);
  expect(() => parseCheckpointShape('llama-9')).toThrow(/"llama-9" is neither a known shape/);
  expect(() => parseCheckpointShape('layers=x')).toThrow(/"layers=x"/);
});
