import type { KVCacheDtype } from '@skein/native';
import { roundTo } from '../half-precision.ts';

/** What a cache of the type gives back of a run of elements that share a scale. */
export function storedRow(dtype: KVCacheDtype, row: Float32Array): Float32Array {
  if (dtype === 'f32') return row;
  if (dtype !== 'f8e4m3' && dtype !== 'i8') return row.map((x) => roundTo(dtype, x));
  const largest = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  if (largest < 1e-30) return row.map(() => 0);
  const most = dtype === 'i8' ? 127 : 448;
  const scale = Math.fround(largest / most);
  const inverse = Math.fround(most / largest);
  return row.map((x) => {
    const scaled = Math.fround(x * inverse);
    return scale * (dtype === 'i8' ? roundHalfEven(scaled) : toF8E4M3(scaled));
  });
}

/** The nearest multiple of the spacing that f8e4m3 has at `x`, up to 448. */
function toF8E4M3(x: number): number {
  const magnitude = Math.min(Math.abs(x), 448);
  const exponent = Math.max(-6, Math.floor(Math.log2(magnitude)));
  const spacing = 2 ** (exponent - 3);
  return Math.sign(x) * roundHalfEven(magnitude / spacing) * spacing;
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
