import type { StoredWeight, WeightSource } from '@skein/native';
import { storedTensors } from '../stored-weight.ts';

/** Bytes that a weight takes where it is computed with, without padding: as stored, or with the scales that `quantize` gives it. */
export function weightBytes(weight: WeightSource): number {
  const [rows = 0, cols = 0] = weight.shape;
  switch (weight.quantize) {
    case null:
      return storedBytes(weight);
    case 'int8':
      return rows * (cols + (2 * cols) / 128);
    case 'int4':
      return rows * (cols / 2 + (2 * cols) / 32);
    case 'int4g128':
      return rows * (cols / 2 + (2 * cols) / 128);
    case 'fp8':
      return rows * (cols + 4);
  }
}

/** Of the rows that the weight takes. */
function storedBytes({ stored, shape }: WeightSource): number {
  const whole = storedTensors(stored).reduce((bytes, tensor) => bytes + tensor.sizeBytes, 0);
  return (whole * (shape[0] ?? 0)) / storedRows(stored);
}

function storedRows(stored: StoredWeight): number {
  switch (stored.format) {
    case 'plain':
      return stored.tensor.shape[0] ?? 0;
    case 'gptq':
      return stored.qweight.shape[1] ?? 0;
    case 'awq':
      return (stored.qweight.shape[1] ?? 0) * 8;
    case 'packed':
      return stored.packed.shape[0] ?? 0;
    case 'int8':
    case 'fp8':
      return stored.weight.shape[0] ?? 0;
  }
}
