import type { KVCacheLayer } from '@skein/native';
import type { ModelConfig } from './model-config.ts';
import { hasBlock, type LayerRange } from './stage-layers.ts';
import { keySlices, type TensorPlace } from './tensor-shard.ts';

/** What a rank keeps of each token, for each layer whose attention its stage has: the key-value heads that its query heads read,
 *  and latent rows whole. */
export function rankCacheLayers(
  { kvCacheLayers }: Pick<ModelConfig, 'kvCacheLayers'>,
  layers: LayerRange,
  { rank, size }: TensorPlace,
): KVCacheLayer[] {
  return kvCacheLayers
    .filter((_, layer) => hasBlock(layers, { layer, kind: 'attention' }))
    .map((layer) =>
      layer.kind === 'latent' ? layer : { ...layer, numKVHeads: keySlices(layer.numKVHeads, size)[rank]?.count ?? 0 },
    );
}
