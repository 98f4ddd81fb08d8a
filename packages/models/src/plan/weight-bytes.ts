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

/** Of the rows and columns that the weight takes. */
function storedBytes({ stored, shape: [rows = 0, cols = 1] }: WeightSource): number {
  const whole = storedTensors(stored).reduce((bytes, tensor) => bytes + tensor.sizeBytes, 0);
  const [storedRows, storedCols] = storedShape(stored);
  return (whole * rows * cols) / (storedRows * storedCols);
}

/** Of the weight that the tensors stand for; a vector is one column. */
function storedShape(stored: StoredWeight): readonly [rows: number, cols: number] {
  switch (stored.format) {
    case 'plain':
      return [stored.tensor.shape[0] ?? 0, stored.tensor.shape[1] ?? 1];
    case 'gptq':
      return [stored.qweight.shape[1] ?? 0, (stored.qweight.shape[0] ?? 0) * (32 / stored.bits)];
    case 'awq':
      return [(stored.qweight.shape[1] ?? 0) * 8, stored.qweight.shape[0] ?? 0];
    case 'packed':
      return [stored.packed.shape[0] ?? 0, (stored.packed.shape[1] ?? 0) * (32 / stored.bits)];
    case 'int8':
    case 'fp8':
      return [stored.weight.shape[0] ?? 0, stored.weight.shape[1] ?? 0];
  }
}
