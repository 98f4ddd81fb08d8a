import type { BlockHash } from './block-hash.ts';
import type { CachedTokens, KVCacheBlock } from './block-pool.ts';

/** The block that is wanted: tokens `start` up to `end` of `tokenIds`, after `parent`. */
export interface WantedBlock {
  readonly hash: BlockHash;
  readonly parent: CachedTokens | null;
  readonly cacheKey: string;
  readonly tokenIds: readonly number[];
  readonly start: number;
  readonly end: number;
}

/** Full blocks by their hash. Holds no blocks: the pool and the block tables do. */
export class PrefixCache {
  readonly #byHash = new Map<BlockHash, KVCacheBlock>();

  get size(): number {
    return this.#byHash.size;
  }

  /** The block with exactly these contents. */
  find(wanted: WantedBlock): KVCacheBlock | null {
    const block = this.#byHash.get(wanted.hash);
    return block?.cached && this.matches(block.cached, wanted) ? block : null;
  }

  /** Makes a computed block findable. @returns false, doing nothing, when another content has taken its hash. */
  add(block: KVCacheBlock, wanted: WantedBlock): boolean {
    if (this.#byHash.has(wanted.hash)) return false;
    const { hash, parent, cacheKey, tokenIds, start, end } = wanted;
    block.cached = { blockId: block.id, hash, parent, cacheKey, tokenIds: tokenIds.slice(start, end) };
    this.#byHash.set(hash, block);
    return true;
  }

  remove(block: KVCacheBlock): void {
    if (block.cached) this.#byHash.delete(block.cached.hash);
    block.cached = null;
  }

  /** Compares contents: the parent by identity, which stands for all tokens before. */
  protected matches(cached: CachedTokens, wanted: WantedBlock): boolean {
    if (cached.parent !== wanted.parent || cached.cacheKey !== wanted.cacheKey) return false;
    for (let i = wanted.start; i < wanted.end; i++)
      if (cached.tokenIds[i - wanted.start] !== wanted.tokenIds[i]) return false;
    return true;
  }
}
