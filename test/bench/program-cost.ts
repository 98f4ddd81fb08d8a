import { storedTensors } from '@skein/models';
import type { ProgramSpec, StoredWeight, WeightId, WeightSource } from '@skein/native';

/** Bytes of weights that one decode step reads, whatever its batch; of an embedding it reads only rows. */
export function weightBytesPerStep(spec: ProgramSpec): number {
  const read = new Set<WeightId>();
  for (const op of spec.ops) {
    if (op.op === 'linear' && op.bias !== null) read.add(op.bias);
    if (op.op === 'linear' || op.op === 'logits' || op.op === 'rmsNorm') read.add(op.weight);
  }
  return spec.weights.reduce((bytes, weight, id) => (read.has(id) ? bytes + readBytes(weight) : bytes), 0);
}

/** Of what lies in memory. */
function readBytes(weight: WeightSource): number {
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

/** Floating-point operations of the matrix products and the attention that compute a prompt of `numTokens` from its start,
 *  with logits of its last token. */
export function prefillFlops(spec: ProgramSpec, numTokens: number): number {
  const products = (id: WeightId): number => 2 * (spec.weights[id]?.shape ?? []).reduce((a, b) => a * b, 1);
  // Token t attends to t + 1 positions or its window; scores and their weighted sum take 2 operations an element each.
  const attended = (window: number): number => {
    const growing = Math.min(numTokens, window);
    return (growing * (growing + 1)) / 2 + (numTokens - growing) * growing;
  };
  return spec.ops.reduce((flops, op) => {
    if (op.op === 'linear') return flops + products(op.weight) * numTokens;
    if (op.op === 'logits') return flops + products(op.weight);
    if (op.op === 'attention') return flops + 4 * op.numHeads * op.headDim * attended(op.window ?? Infinity);
    return flops;
  }, 0);
}
