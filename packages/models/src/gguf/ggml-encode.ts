import { toBfloat16, toFloat16 } from '../half-precision.ts';
import { GGML_TYPES } from './ggml-types.ts';

/** The types that numbers can be turned into here. */
export type EncodableDtype = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_0';

/** Bytes of `values`, whole blocks of `dtype` one after another. Quantized as llama.cpp's own reference does. */
export function encodeGgml(dtype: EncodableDtype, values: Float32Array): Uint8Array {
  const { blockValues, blockBytes, name } = GGML_TYPES[dtype];
  if (values.length % blockValues !== 0)
    throw new RangeError(`${values.length} values are no whole blocks of ${blockValues}, which ${name} has`);
  switch (dtype) {
    case 'f32':
      return new Uint8Array(values.slice().buffer);
    case 'f16':
      return encodeEach(values, toFloat16);
    case 'bf16':
      return encodeEach(values, toBfloat16);
    case 'q8_0':
    case 'q4_0': {
      const encodeBlock = dtype === 'q8_0' ? encodeQ8Block : encodeQ4Block;
      const bytes = new Uint8Array((values.length / blockValues) * blockBytes);
      for (let b = 0; b * blockValues < values.length; b++) encodeBlock(values, b * blockValues, bytes, b * blockBytes);
      return bytes;
    }
  }
}

// Plain loops: a checkpoint has a billion numbers, and iterators take ten times as long for each.

function encodeEach(values: Float32Array, bitsOf: (value: number) => number): Uint8Array {
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) bits[i] = bitsOf(values[i] ?? 0);
  return new Uint8Array(bits.buffer);
}

/** f16 scale, 32 signed codes. */
function encodeQ8Block(values: Float32Array, at: number, out: Uint8Array, outAt: number): void {
  let largest = 0;
  for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(values[at + i] ?? 0));
  const scale = Math.fround(largest / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  putFloat16(out, outAt, scale);
  for (let i = 0; i < 32; i++) out[outAt + 2 + i] = roundAwayFromZero(Math.fround((values[at + i] ?? 0) * inverse));
}

/** f16 scale, 32 codes 0..15 that stand for -8..7; the first half in the low nibbles. */
function encodeQ4Block(values: Float32Array, at: number, out: Uint8Array, outAt: number): void {
  // The number that is farthest from zero, with its sign, becomes -8.
  let farthest = 0;
  for (let i = 0; i < 32; i++) {
    const x = values[at + i] ?? 0;
    if (Math.abs(x) > Math.abs(farthest)) farthest = x;
  }
  const scale = Math.fround(farthest / -8);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  putFloat16(out, outAt, scale);
  const code = (i: number): number =>
    Math.min(15, Math.trunc(Math.fround(Math.fround((values[at + i] ?? 0) * inverse) + 8.5)));
  for (let i = 0; i < 16; i++) out[outAt + 2 + i] = code(i) | (code(16 + i) << 4);
}

function putFloat16(out: Uint8Array, at: number, value: number): void {
  const bits = toFloat16(value);
  out[at] = bits & 0xff;
  out[at + 1] = bits >>> 8;
}

function roundAwayFromZero(x: number): number {
  return Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
}
