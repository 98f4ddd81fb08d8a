import type { StoredWeight, TensorDtype, TensorSource, WeightSource } from '@skein/native';
import { expect, test } from 'vitest';
import { weightBytes } from './weight-bytes.ts';

function tensor(dtype: TensorDtype, sizeBytes: number, ...shape: number[]): TensorSource {
  return { name: 't', file: '', offsetBytes: 0, sizeBytes, dtype, shape };
}

/** Of 64 rows and 256 columns, or of some. */
function weight(stored: StoredWeight, some: Partial<WeightSource> = {}): WeightSource {
  return { name: 'w', shape: [64, 256], stored, firstRow: 0, firstCol: 0, quantize: null, ...some };
}

const plain: StoredWeight = { format: 'plain', tensor: tensor('bf16', 32768, 64, 256) };
const scales = tensor('f16', 256, 2, 64);

test.each<[string, StoredWeight, number]>([
  ['plain', plain, 32768],
  [
    'gptq',
    {
      ...{ format: 'gptq', bits: 4, groupSize: 128, gIdx: null, zeroOffset: 1, scales },
      qweight: tensor('i32', 8192, 32, 64),
      qzeros: tensor('i32', 64, 2, 8),
    },
    8192 + 64 + 256,
  ],
  [
    'awq',
    {
      ...{ format: 'awq', groupSize: 128, scales },
      qweight: tensor('i32', 8192, 256, 8),
      qzeros: tensor('i32', 64, 2, 8),
    },
    8192 + 64 + 256,
  ],
  [
    'packed',
    {
      ...{ format: 'packed', bits: 4, groupSize: 128, zeroPoint: null, gIdx: null },
      packed: tensor('i32', 8192, 64, 32),
      scale: tensor('bf16', 256, 64, 2),
    },
    8192 + 256,
  ],
  [
    'fp8',
    { format: 'fp8', weight: tensor('f8e4m3', 16384, 64, 256), scale: tensor('f32', 4, 1), blockShape: null },
    16388,
  ],
])('%s counts all its tensors, and of a slice its part of them', (_, stored, bytes) => {
  expect(weightBytes(weight(stored))).toBe(bytes);
  expect(weightBytes(weight(stored, { shape: [16, 256], firstRow: 16 }))).toBe(bytes / 4);
  expect(weightBytes(weight(stored, { shape: [64, 128], firstCol: 128 }))).toBe(bytes / 2);
});

test('what is quantized at load counts codes and scales', () => {
  expect(weightBytes(weight(plain, { quantize: 'int8' }))).toBe(64 * (256 + 2 * 2));
  expect(weightBytes(weight(plain, { quantize: 'int4' }))).toBe(64 * (128 + 2 * 8));
  expect(weightBytes(weight(plain, { quantize: 'fp8', shape: [32, 128] }))).toBe(32 * (128 + 4));
});

test('a vector is one column', () => {
  const stored: StoredWeight = { format: 'plain', tensor: tensor('f32', 256, 64) };
  expect(weightBytes(weight(stored, { shape: [64] }))).toBe(256);
});
