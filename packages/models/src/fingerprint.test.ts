import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelFingerprint } from './fingerprint.ts';
import { parseModel } from './model-registry.ts';
import { parseCheckpointShape } from './random-checkpoint/checkpoint-shapes.ts';
import { writeRandomCheckpoint } from './random-checkpoint/random-checkpoint.ts';
import { readCheckpointTensors } from './checkpoint-tensors.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-fingerprint-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const shape = parseCheckpointShape('layers=2,hidden=16,heads=2,vocab=300,maxLen=128');

async function tensorsOf(name: string, seed: number, shardBytes = 1e9) {
  const dir = join(root, name);
  await writeRandomCheckpoint({ shape, dir, seed, dtype: 'bf16', shardBytes, signal: null });
  return readCheckpointTensors(dir);
}

test('the fingerprint follows weights, operations, block size and dtype, and no path', async () => {
  const model = parseModel(shape, 'config.json');
  const base = { model, tensors: await tensorsOf('a', 1), maxModelLen: 128, blockSize: 16, dtype: 'bf16' } as const;
  const fingerprint = await modelFingerprint(base);
  expect(fingerprint).toMatch(/^sha256:[0-9a-f]{32}$/);
  const equal = [
    { tensors: await tensorsOf('b', 1, 4000) },
    { model: parseModel({ ...shape, eos_token_id: 7 }, 'other.json') },
    { maxModelLen: 64 },
  ];
  for (const change of equal) expect(await modelFingerprint({ ...base, ...change })).toBe(fingerprint);
  const others = [
    { tensors: await tensorsOf('c', 2) },
    { blockSize: 32 },
    { dtype: 'f32' as const },
    { quantization: 'int4' as const },
    { quantization: 'int4-g128' as const },
    { dtype: 'i8' as const },
    { model: parseModel({ ...shape, rms_norm_eps: 1e-4 }, 'config.json') },
    { model: parseModel({ ...shape, rope_theta: 5e5 }, 'config.json') },
  ];
  const found = await Promise.all(others.map((change) => modelFingerprint({ ...base, ...change })));
  expect(new Set([fingerprint, ...found]).size).toBe(1 + others.length);
});
