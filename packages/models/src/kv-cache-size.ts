import type { Dtype, KVCacheLayer } from '@skein/native';
import { DTYPE_BYTES } from './dtype.ts';
import type { ModelConfig } from './model-config.ts';
import type { LayerRange } from './stage-layers.ts';

/** Values that a layer keeps of each token. */
function valuesPerToken(layer: KVCacheLayer): number {
  switch (layer.kind) {
    case 'heads':
      return 2 * layer.numKVHeads * layer.headDim;
    case 'latent':
      return layer.latentDim + layer.ropeDim;
  }
}

/** Bytes of one KV block: what every layer of the stage keeps of `blockSize` tokens. */
export function kvBlockBytes(
  config: Pick<ModelConfig, 'kvCacheLayers'>,
  layers: LayerRange,
  block: { readonly blockSize: number; readonly dtype: Dtype },
): number {
  const values = config.kvCacheLayers.slice(...layers).reduce((sum, layer) => sum + valuesPerToken(layer), 0);
  return values * block.blockSize * DTYPE_BYTES[block.dtype];
}

/** Whole blocks that fit a budget; 0 when not even one does. */
export function kvBlocksInBudget(budgetBytes: number, blockBytes: number): number {
  return Math.max(0, Math.floor(budgetBytes / blockBytes));
}
