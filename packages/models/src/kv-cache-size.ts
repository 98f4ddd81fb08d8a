import type { KVCacheDtype, KVCacheLayer } from '@skein/native';
import { DTYPE_BYTES } from './dtype.ts';

const SCALE_BYTES = 4;

/** Rows that a layer keeps of each token, their width, and how many scales a row has when it is quantized. */
function rowsPerToken(layer: KVCacheLayer): { count: number; width: number; scales: number } {
  switch (layer.kind) {
    case 'heads':
      return { count: 2 * layer.numKVHeads, width: layer.headDim, scales: 1 };
    case 'latent':
      return { count: 1, width: layer.latentDim + layer.ropeDim, scales: 2 };
  }
}

/** Bytes of `blockSize` rows with their scales, as native.ts lays them out. */
function rowsBytes(width: number, scales: number, blockSize: number, dtype: KVCacheDtype): number {
  const values = width * blockSize;
  if (dtype !== 'f8e4m3' && dtype !== 'i8') return values * DTYPE_BYTES[dtype];
  return Math.ceil(values / SCALE_BYTES) * SCALE_BYTES + scales * blockSize * SCALE_BYTES;
}

/** Bytes of one KV block: what the layers keep of `blockSize` tokens. */
export function kvBlockBytes(
  layers: readonly KVCacheLayer[],
  block: { readonly blockSize: number; readonly dtype: KVCacheDtype },
): number {
  return layers.reduce((sum, layer) => {
    const { count, width, scales } = rowsPerToken(layer);
    return sum + count * rowsBytes(width, scales, block.blockSize, block.dtype);
  }, 0);
}

/** Whole blocks that fit a budget; 0 when not even one does, Infinity for a stage without attention, which keeps nothing. */
export function kvBlocksInBudget(budgetBytes: number, blockBytes: number): number {
  return blockBytes === 0 ? Infinity : Math.max(0, Math.floor(budgetBytes / blockBytes));
}
