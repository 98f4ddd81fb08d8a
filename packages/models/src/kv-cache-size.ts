import type { Dtype } from '@skein/native';
import { DTYPE_BYTES } from './dtype.ts';
import type { ModelConfig } from './model-config.ts';
import type { LayerRange } from './stage-layers.ts';

/** Bytes of one KV block (K and V of `blockSize` tokens in every layer of the stage). */
export function kvBlockBytes(
  config: Pick<ModelConfig, 'numKVHeads' | 'headDim'>,
  layers: LayerRange,
  block: { readonly blockSize: number; readonly dtype: Dtype },
): number {
  return 2 * (layers[1] - layers[0]) * config.numKVHeads * config.headDim * block.blockSize * DTYPE_BYTES[block.dtype];
}

/** Whole blocks that fit a budget; 0 when not even one does. */
export function kvBlocksInBudget(budgetBytes: number, blockBytes: number): number {
  return Math.max(0, Math.floor(budgetBytes / blockBytes));
}
