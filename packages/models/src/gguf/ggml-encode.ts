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
      return new Uint8Array(Uint16Array.from(values, toFloat16).buffer);
    case 'bf16':
      return new Uint8Array(Uint16Array.from(values, toBfloat16).buffer);
    case 'q8_0':
    case 'q4_0': {
      const encodeBlock = dtype === 'q8_0' ? encodeQ8Block : encodeQ4Block;
      const bytes = new Uint8Array((values.length / blockValues) * blockBytes);
      for (let b = 0; b * blockValues < values.length; b++) {
        const block = values.subarray(b * blockValues, (b + 1) * blockValues);
        encodeBlock(block, bytes.subarray(b * blockBytes, (b + 1) * blockBytes));
      }
      return bytes;
    }
  }
}

/** f16 scale, 32 signed codes. */
function encodeQ8Block(values: Float32Array, out: Uint8Array): void {
  const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const scale = Math.fround(largest / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  putFloat16(out, scale);
  for (const [i, x] of values.entries()) out[2 + i] = roundAwayFromZero(Math.fround(x * inverse));
}

/** f16 scale, 32 codes 0..15 that stand for -8..7; the first half in the low nibbles. */
function encodeQ4Block(values: Float32Array, out: Uint8Array): void {
  // The number that is farthest from zero, with its sign, becomes -8.
  const farthest = values.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
  const scale = Math.fround(farthest / -8);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  putFloat16(out, scale);
  const code = (x: number): number => Math.min(15, Math.trunc(Math.fround(Math.fround(x * inverse) + 8.5)));
  for (let i = 0; i < 16; i++) out[2 + i] = code(values[i] ?? 0) | (code(values[16 + i] ?? 0) << 4);
}

function putFloat16(out: Uint8Array, value: number): void {
  const bits = toFloat16(value);
  out[0] = bits & 0xff;
  out[1] = bits >>> 8;
}

function roundAwayFromZero(x: number): number {
  return Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
}
