import { readFileSync } from 'node:fs';
import type { StoredWeight, TensorSource, WeightSource } from '@skein/native';
import { fromBfloat16, fromFloat16 } from '../half-precision.ts';
import { fail } from './value.ts';

type Quantized = Exclude<StoredWeight, { format: 'plain' }>;

/** The f32 [n, k] that a quantized weight stands for, one element after another: codes less their zero points, times their
 *  scales, rounded once. */
export function dequantize({ shape, firstRow }: Pick<WeightSource, 'shape' | 'firstRow'>, stored: Quantized) {
  const [count = 0, cols = 0] = shape;
  const elementAt = elements(stored, cols);
  const out = new Float32Array(count * cols);
  for (let r = 0; r < count; r++) for (let c = 0; c < cols; c++) out[r * cols + c] = elementAt(firstRow + r, c);
  return out;
}

/** By row and column of the stored weight. */
function elements(stored: Quantized, cols: number): (row: number, col: number) => number {
  switch (stored.format) {
    case 'gptq': {
      const { bits, zeroOffset } = stored;
      const [codes, zeros] = [bitsOf(stored.qweight, bits), bitsOf(stored.qzeros, bits)];
      const [rows, scales] = [stored.qweight.shape[1] ?? 0, floats(stored.scales)];
      const group = groupOf(stored.groupSize ?? cols, stored.gIdx);
      const perWord = 32 / bits;
      return (r, c) => {
        const code = codes((Math.floor(c / perWord) * rows + r) * perWord + (c % perWord));
        const zero = zeros(group(c) * rows + r) + zeroOffset;
        return (code - zero) * at(scales, group(c) * rows + r);
      };
    }
    case 'awq': {
      const rows = (stored.qweight.shape[1] ?? 0) * 8;
      const [codes, zeros] = [bitsOf(stored.qweight, 4), bitsOf(stored.qzeros, 4)];
      const scales = floats(stored.scales);
      // Where in its word each of eight neighbours lies.
      const place = [0, 4, 1, 5, 2, 6, 3, 7];
      const placed = (r: number): number => r - (r % 8) + (place[r % 8] ?? 0);
      return (r, c) => {
        const group = Math.floor(c / stored.groupSize);
        const zero = zeros(group * rows + placed(r));
        return (codes(c * rows + placed(r)) - zero) * at(scales, group * rows + r);
      };
    }
    case 'packed': {
      const { bits, zeroPoint } = stored;
      const codes = bitsOf(stored.packed, bits);
      const zeros = zeroPoint && bitsOf(zeroPoint, bits);
      const scales = floats(stored.scale);
      const [groups, perWord] = [stored.scale.shape[1] ?? 1, 32 / bits];
      const stride = (stored.packed.shape[1] ?? 0) * perWord;
      const group = groupOf(stored.groupSize ?? cols, stored.gIdx);
      return (r, c) => {
        const zero =
          zeros?.((Math.floor(r / perWord) * groups + group(c)) * perWord + (r % perWord)) ?? 2 ** (bits - 1);
        return (codes(r * stride + c) - zero) * at(scales, r * groups + group(c));
      };
    }
    case 'int8': {
      const codes = new Int8Array(bytes(stored.weight));
      const zeros = stored.zeroPoint && new Int8Array(bytes(stored.zeroPoint));
      const scales = floats(stored.scale);
      const group = groupOf(stored.groupSize ?? cols, null);
      const groups = stored.groupSize === null ? 1 : Math.ceil(cols / stored.groupSize);
      const place = (r: number, c: number): number => (scales.length === 1 ? 0 : r * groups + group(c));
      return (r, c) => (at(codes, r * cols + c) - (zeros ? at(zeros, place(r, c)) : 0)) * at(scales, place(r, c));
    }
    case 'fp8': {
      const codes = new Uint8Array(bytes(stored.weight));
      const scales = floats(stored.scale);
      const [blockRows, blockCols] = stored.blockShape ?? [scales.length === 1 ? Infinity : 1, cols];
      const perRow = Math.ceil(cols / blockCols);
      return (r, c) =>
        fromFloat8(at(codes, r * cols + c)) *
        at(scales, Math.floor(r / blockRows) * perRow + Math.floor(c / blockCols));
    }
  }
}

function groupOf(size: number, gIdx: TensorSource | null): (col: number) => number {
  if (gIdx === null) return (c) => Math.floor(c / size);
  const groups = new Int32Array(bytes(gIdx));
  return (c) => at(groups, c);
}

/** Unsigned numbers of `bits`, one after another, lowest bits of each word first. */
function bitsOf(tensor: TensorSource, bits: 4 | 8): (index: number) => number {
  const packed = new Uint8Array(bytes(tensor));
  if (bits === 8) return (i) => at(packed, i);
  return (i) => (at(packed, i >> 1) >> (4 * (i & 1))) & 15;
}

/** Of e4m3 without infinities. */
function fromFloat8(bits: number): number {
  const sign = bits & 0x80 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 3) & 15, bits & 7];
  if (exponent === 15 && fraction === 7) return NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7));
}

function floats(tensor: TensorSource): Float32Array {
  const data = bytes(tensor);
  if (tensor.dtype === 'f32') return new Float32Array(data);
  const widen = { f16: fromFloat16, bf16: fromBfloat16 }[tensor.dtype as string];
  return Float32Array.from(new Uint16Array(data), widen ?? fail(`${tensor.name} is ${tensor.dtype}`));
}

function bytes({ file, offsetBytes, sizeBytes }: TensorSource): ArrayBuffer {
  return new Uint8Array(readFileSync(file).subarray(offsetBytes, offsetBytes + sizeBytes)).buffer;
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? fail(`no element ${index} of ${values.length}`);
}
