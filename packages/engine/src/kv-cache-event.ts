import type { BlockHash } from './block-hash.ts';

/** What happened to the prefix cache, in vLLM's words. In the order of happening, a listener that starts from an empty cache
 *  always knows exactly what is cached. */
export type KVCacheEvent =
  | {
      readonly type: 'BlockStored';
      /** Consecutive blocks of one prompt. */
      readonly blockHashes: readonly BlockHash[];
      /** Of the block before the first; null when that is the prompt's first. */
      readonly parentBlockHash: BlockHash | null;
      /** blockSize for each block. */
      readonly tokenIds: readonly number[];
      readonly blockSize: number;
      readonly owner: CacheOwner;
    }
  | { readonly type: 'BlockRemoved'; readonly blockHashes: readonly BlockHash[] }
  | { readonly type: 'AllBlocksCleared' };

/** Who may reuse a block: the same client with the same salt, nobody else. */
export interface CacheOwner {
  readonly client: string;
  /** The request's own; null for none. */
  readonly cacheSalt: string | null;
}

/** The owner that `cacheKeyOf` made `cacheKey` of. */
export function ownerOf(cacheKey: string): CacheOwner {
  const [client, cacheSalt] = JSON.parse(cacheKey) as [string, string | null];
  return { client, cacheSalt };
}

/** One string for each owner, and never the same for two: JSON quotes what could run together. */
export function cacheKeyOf({ client, cacheSalt }: CacheOwner): string {
  return JSON.stringify([client, cacheSalt]);
}
