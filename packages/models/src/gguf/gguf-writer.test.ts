import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeGguf } from './gguf-writer.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'skein-gguf-writer-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

test('a file has its header, its values and its tensors where the format has them', async () => {
  const file = join(dir, 'a.gguf');
  const q8 = new Uint8Array(34).fill(7);
  await writeGguf(
    file,
    {
      metadata: { a: ['u32', 5], b: ['string[]', ['x', 'ü']], c: ['bool', true], d: ['i64', -1], e: ['f32', 0.5] },
      tensors: [
        { name: 'q', dtype: 'q8_0', shape: [1, 32], chunks: () => [q8.subarray(0, 3), q8.subarray(3)] },
        { name: 'f', dtype: 'f16', shape: [2], chunks: () => [Uint8Array.of(1, 2, 3, 4)] },
      ],
    },
    { signal: null },
  );
  const u32 = (n: number) => [n & 255, n >> 8, 0, 0];
  const u64 = (n: number) => [...u32(n), 0, 0, 0, 0];
  const text = (t: string) => [...u64(Buffer.byteLength(t)), ...Buffer.from(t)];
  const header = [
    ...Buffer.from('GGUF'),
    ...u32(3),
    ...u64(2),
    ...u64(5),
    ...[...text('a'), ...u32(4), ...u32(5)],
    ...[...text('b'), ...u32(9), ...u32(8), ...u64(2), ...text('x'), ...text('ü')],
    ...[...text('c'), ...u32(7), 1],
    ...[...text('d'), ...u32(11), ...Array(8).fill(255)],
    ...[...text('e'), ...u32(6), 0, 0, 0, 0x3f],
    ...[...text('q'), ...u32(2), ...u64(32), ...u64(1), ...u32(8), ...u64(0)],
    ...[...text('f'), ...u32(1), ...u64(2), ...u32(1), ...u64(64)],
  ];
  const dataStart = Math.ceil(header.length / 32) * 32;
  const padded = [...header, ...Array(dataStart - header.length).fill(0)];
  const data = [...q8, ...Array(30).fill(0), 1, 2, 3, 4, ...Array(28).fill(0)];
  expect([...readFileSync(file)]).toEqual([...padded, ...data]);
});

test('a tensor of another size than its shape leaves no file', async () => {
  const write = (shape: number[]) => {
    const tensor = { name: 'q', dtype: 'q4_0' as const, shape, chunks: () => [new Uint8Array(17)] };
    return writeGguf(join(dir, 'b.gguf'), { metadata: {}, tensors: [tensor] }, { signal: null });
  };
  await expect(write([1, 32])).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_WRITE',
    message: expect.stringContaining('tensor q came 1 bytes short of its shape [1, 32]'),
  });
  await expect(write([1, 33])).rejects.toMatchObject({ message: expect.stringContaining('Q4_0 has blocks of 32') });
  expect(readdirSync(dir).filter((name) => name.startsWith('b.'))).toEqual([]);
});

test('a list may be as long as a large vocabulary', async () => {
  const file = join(dir, 'long.gguf');
  const words = Array.from({ length: 300_000 }, (_, i) => String(i % 10));
  await writeGguf(file, { metadata: { a: ['string[]', words] }, tensors: [] }, { signal: null });
  expect(readFileSync(file).length).toBeGreaterThan(300_000 * 9);
});
