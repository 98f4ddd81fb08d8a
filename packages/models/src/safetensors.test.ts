import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSafetensorsDirectory, readSafetensors } from './safetensors.ts';
import { writeSafetensors } from './safetensors-writer.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-safetensors-'));
});
afterAll(() => rmSync(root, { recursive: true }));

let counter = 0;
const newDir = () => mkdtempSync(join(root, `${counter++}-`));

/** A file with this header and so many bytes of data. */
function raw(header: unknown, dataBytes: number, headerBytes: bigint | null = null): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerBytes ?? BigInt(json.length));
  const file = join(newDir(), 'model.safetensors');
  writeFileSync(file, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  return file;
}

const tensor = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

test('what the writer writes, the reader finds', async () => {
  const file = join(newDir(), 'model.safetensors');
  const data = Uint8Array.from({ length: 24 }, (_, i) => i);
  await writeSafetensors(
    file,
    [
      { name: 'a', dtype: 'f32', shape: [2, 3], chunks: () => [data.subarray(0, 10), data.subarray(10)] },
      { name: 'b', dtype: 'bf16', shape: [2], chunks: () => [data.subarray(0, 4)] },
      { name: 'c', dtype: 'f16', shape: [], chunks: () => [data.subarray(0, 2)] },
    ],
    { signal: null },
  );
  const tensors = await readSafetensors(file);
  const start = tensors.get('a')?.offsetBytes ?? -1;
  expect(start % 64).toBe(0);
  expect([...tensors.values()]).toEqual([
    { name: 'a', file, offsetBytes: start, sizeBytes: 24, dtype: 'f32', shape: [2, 3] },
    { name: 'b', file, offsetBytes: start + 24, sizeBytes: 4, dtype: 'bf16', shape: [2] },
    { name: 'c', file, offsetBytes: start + 28, sizeBytes: 2, dtype: 'f16', shape: [] },
  ]);
});

test('a failed write leaves no file', async () => {
  const dir = newDir();
  const short = { name: 'a', dtype: 'f32', shape: [2], chunks: () => [new Uint8Array(4)] } as const;
  await expect(writeSafetensors(join(dir, 'x.safetensors'), [short], { signal: null })).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_WRITE',
  });
  expect(await readdir(dir)).toEqual([]);
});

const refused: [name: string, header: unknown, dataBytes: number, headerBytes: bigint | null, message: RegExp][] = [
  ['a header beyond the file', {}, 0, 1000n, /header length 1000/],
  ['a header beyond the cap', {}, 0, 2n ** 63n, /header length 9223372036854775808/],
  ['a header that is no JSON', '{"a":', 0, null, /cannot be read as safetensors/],
  ['a header that is a list', [], 0, null, /no JSON object/],
  ['data beyond the end', { a: tensor('F32', [2], 0, 8) }, 7, null, /tensor a lies at 0 to 8 of 7/],
  ['a backward range', { a: tensor('F32', [0], 8, 0) }, 8, null, /tensor a lies at 8 to 0/],
  ['a size that is not the shape', { a: tensor('F32', [3], 0, 8) }, 8, null, /needs 12 bytes and has 8/],
  ['a product beyond any number', { a: tensor('F32', [2 ** 31, 2 ** 31, 2 ** 31], 0, 8) }, 8, null, /beyond any file/],
  ['a negative offset', { a: tensor('F32', [2], -8, 0) }, 8, null, /data_offsets\.0 is -8/],
  ['a negative size', { a: tensor('F32', [-2], 0, 8) }, 8, null, /shape\.0 is -2/],
  ['an overlap', { a: tensor('F32', [2], 0, 8), b: tensor('F32', [2], 4, 12) }, 12, null, /tensors a and b overlap/],
  ['another dtype', { a: tensor('F64', [1], 0, 8) }, 8, null, /tensor a has dtype F64; served are F32, F16, BF16/],
  ['no entry at all', { a: 7 }, 8, null, /tensor a/],
];

test.each(refused)('%s is refused', async (_, header, dataBytes, headerBytes, message) => {
  await expect(readSafetensors(raw(header, dataBytes, headerBytes))).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
  });
});

async function sharded(weightMap: Record<string, string>): Promise<string> {
  const dir = newDir();
  for (const name of ['a', 'b']) {
    await writeSafetensors(
      join(dir, `${name}.safetensors`),
      [{ name, dtype: 'f32', shape: [1], chunks: () => [new Uint8Array(4)] }],
      { signal: null },
    );
  }
  writeFileSync(join(dir, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }));
  return dir;
}

test('shards are read through the index', async () => {
  const tensors = await readSafetensorsDirectory(await sharded({ a: 'a.safetensors', b: 'b.safetensors' }));
  expect([...tensors.keys()]).toEqual(['a', 'b']);
});

test.each([
  [{ a: '../a.safetensors' }, /plain file name/],
  [{ a: '/etc/a.safetensors' }, /plain file name/],
  [{ a: 'a.safetensors', c: 'b.safetensors' }, /holds tensor b, which .* places in no file/],
  [{ a: 'a.safetensors', c: 'a.safetensors' }, /lacks tensor c/],
  [{ a: 'gone.safetensors' }, /gone\.safetensors: cannot be read/],
])('the index %j is refused', async (weightMap, message) => {
  await expect(readSafetensorsDirectory(await sharded(weightMap as Record<string, string>))).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
  });
});

test('a directory without a checkpoint is refused', async () => {
  await expect(readSafetensorsDirectory(newDir())).rejects.toThrow(/holds neither model\.safetensors nor/);
});
