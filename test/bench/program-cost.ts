import { weightBytes } from '@skein/models';
import type { ProgramSpec, WeightId } from '@skein/native';

/** Bytes of weights that one decode step reads, whatever its batch; of an embedding it reads only rows. */
export function weightBytesPerStep(spec: ProgramSpec): number {
  const read = new Set<WeightId>();
  for (const op of spec.ops) {
    if (op.op === 'linear' && op.bias !== null) read.add(op.bias);
    if (op.op === 'linear' || op.op === 'logits' || op.op === 'rmsNorm') read.add(op.weight);
  }
  return spec.weights.reduce((bytes, weight, id) => (read.has(id) ? bytes + weightBytes(weight) : bytes), 0);
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
