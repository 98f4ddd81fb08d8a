import { expect, test } from 'vitest';
import { fromFloat16 } from '../half-precision.ts';
import { encodeGgml } from './ggml-encode.ts';

/** Ties and both signs of the largest number are among them. */
const values = Float32Array.from({ length: 96 }, (_, i) => (i < 64 ? ((i * 37) % 64) - 31.5 : (i - 80) / 8));

const scaleOf = (block: Uint8Array): number => fromFloat16((block[0] ?? 0) | ((block[1] ?? 0) << 8));

test('Q8_0 comes within half a step of every number', () => {
  const bytes = encodeGgml('q8_0', values);
  expect(bytes.length).toBe(3 * 34);
  for (const [i, x] of values.entries()) {
    const block = bytes.subarray(Math.floor(i / 32) * 34);
    const code = ((block[2 + (i % 32)] ?? 0) << 24) >> 24;
    expect(Math.abs(code * scaleOf(block) - x)).toBeLessThanOrEqual(0.51 * scaleOf(block));
  }
});

test('Q4_0 gives the number farthest from zero exactly, and others within a step', () => {
  const bytes = encodeGgml('q4_0', values);
  expect(bytes.length).toBe(3 * 18);
  for (const [i, x] of values.entries()) {
    const block = bytes.subarray(Math.floor(i / 32) * 18);
    const pair = block[2 + (i % 16)] ?? 0;
    const found = ((i % 32 < 16 ? pair & 15 : pair >> 4) - 8) * scaleOf(block);
    expect(Math.abs(found - x)).toBeLessThanOrEqual(Math.abs(scaleOf(block)) * 1.01);
  }
  expect(scaleOf(bytes)).toBeCloseTo(31.5 / 8, 2);
});

test('zeros, plain types, and rows that are no whole blocks', () => {
  expect(encodeGgml('q8_0', new Float32Array(32))).toEqual(new Uint8Array(34));
  expect(encodeGgml('q4_0', new Float32Array(32)).subarray(2)).toEqual(new Uint8Array(16).fill(0x88));
  expect([...encodeGgml('bf16', Float32Array.of(1, -2))]).toEqual([0x80, 0x3f, 0, 0xc0]);
  expect([...encodeGgml('f16', Float32Array.of(1, -2))]).toEqual([0, 0x3c, 0, 0xc0]);
  expect([...encodeGgml('f32', Float32Array.of(0, 1, -2).subarray(1))]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
  expect(() => encodeGgml('q8_0', new Float32Array(33))).toThrow('33 values are no whole blocks of 32, which Q8_0 has');
});
