import type { Dtype } from '@skein/native';

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** Rounds to nearest, ties to even, as the storage type does, and gives the value back as f32. */
export function roundTo(dtype: Dtype, value: number): number {
  switch (dtype) {
    case 'f32':
      return Math.fround(value);
    case 'bf16':
      return fromBfloat16(toBfloat16(value));
    case 'f16':
      return fromFloat16(toFloat16(value));
  }
}

/** Bits of a finite value. */
export function toBfloat16(value: number): number {
  float[0] = value;
  const bits = word[0] ?? 0;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

export function fromBfloat16(bits: number): number {
  word[0] = bits << 16;
  return float[0] ?? 0;
}

/** Bits of a finite value; beyond 65504 becomes infinity. */
export function toFloat16(value: number): number {
  const f = Math.fround(value);
  const sign = f < 0 || Object.is(f, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(f);
  // Below the smallest normal number the spacing is fixed at 2^-24.
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24);
  float[0] = magnitude;
  const bits = (word[0] ?? 0) - 0x38000000;
  return sign | Math.min((bits + 0x0fff + ((bits >>> 13) & 1)) >>> 13, 0x7c00);
}

export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
