import type { BlockHash } from './block-hash.ts';
import { assert } from './errors.ts';

/** What is known of a cached block's contents. Together with its parents this spells out every token up to the block's end,
 *  and whose they are: that is what a hit is checked against. */
export interface CachedTokens {
  readonly blockId: number;
  readonly hash: BlockHash;
  /** The block before; null for the first of a prompt. It stays cached for as long as this one does: whoever holds a block
   *  holds its parents, and releases them later. */
  readonly parent: CachedTokens | null;
  /** Who may reuse it; the same in every block of a chain. */
  readonly cacheKey: string;
  readonly tokenIds: readonly number[];
}

/** One KV block of the pool, in one of three states:
 *
 *  free    refCount 0, cached null    waits on the stack
 *  cached  refCount 0, cached set     waits in the list of idle blocks; found by a hit or evicted
 *  used    refCount > 0               in the block tables of that many requests, cached or not */
export interface KVCacheBlock {
  readonly id: number;
  refCount: number;
  /** Counts its contents, so that a late reader can tell that they are not the ones it was promised. */
  generation: number;
  /** What the prefix cache knows it by; null while it is not in the cache. Set and cleared by PrefixCache. */
  cached: CachedTokens | null;
  /** Neighbours in the list of idle blocks. */
  older: KVCacheBlock | null;
  newer: KVCacheBlock | null;
}

/** All KV blocks of an executor, and the order in which they are given out: blocks without contents first, the latest release
 *  before older ones, so that few pages of the pool are ever touched; then cached ones, the least recently used first. */
export class BlockPool {
  readonly blocks: readonly KVCacheBlock[];
  readonly #free: KVCacheBlock[];
  #oldestIdle: KVCacheBlock | null = null;
  #newestIdle: KVCacheBlock | null = null;
  #numIdle = 0;

  constructor(numBlocks: number) {
    this.blocks = Array.from({ length: numBlocks }, (_, id) => {
      return { id, refCount: 0, generation: 0, cached: null, older: null, newer: null };
    });
    this.#free = this.blocks.toReversed();
  }

  /** Without contents and without an owner. */
  get numFree(): number {
    return this.#free.length;
  }

  /** Kept for the prefix cache alone. */
  get numCached(): number {
    return this.#numIdle;
  }

  get numUsed(): number {
    return this.blocks.length - this.#free.length - this.#numIdle;
  }

  /** What `take` can give. */
  get numAvailable(): number {
    return this.#free.length + this.#numIdle;
  }

  /** Gives out one block; the caller has checked that there is one. `evict` is told of a cached block before it is
   *  reused, and clears its `cached`. */
  take(evict: (block: KVCacheBlock) => void): KVCacheBlock {
    let block = this.#free.pop();
    if (!block) {
      assert(this.#oldestIdle !== null, () => `no KV block of ${this.blocks.length} is free or cached`);
      block = this.#oldestIdle;
      this.#unlink(block);
      evict(block);
    }
    assert(block.refCount === 0, () => `free KV block ${block.id} has ${block.refCount} owners`);
    block.refCount = 1;
    block.generation += 1;
    return block;
  }

  /** Adds an owner to a block with contents. */
  share(block: KVCacheBlock): void {
    if (block.refCount === 0) this.#unlink(block);
    block.refCount += 1;
  }

  /** Takes an owner away. */
  release(block: KVCacheBlock): void {
    assert(block.refCount > 0, () => `KV block ${block.id} released by more than its owners`);
    block.refCount -= 1;
    if (block.refCount > 0) return;
    if (block.cached) this.#append(block);
    else this.#free.push(block);
  }

  /** The free blocks, and the idle ones from least to most recently used. For integrity checks. */
  waiting(): { readonly free: readonly KVCacheBlock[]; readonly idle: readonly KVCacheBlock[] } {
    const idle: KVCacheBlock[] = [];
    for (let block = this.#oldestIdle; block; block = block.newer) idle.push(block);
    return { free: this.#free, idle };
  }

  #append(block: KVCacheBlock): void {
    block.older = this.#newestIdle;
    if (this.#newestIdle) this.#newestIdle.newer = block;
    else this.#oldestIdle = block;
    this.#newestIdle = block;
    this.#numIdle += 1;
  }

  #unlink(block: KVCacheBlock): void {
    if (block.older) block.older.newer = block.newer;
    else this.#oldestIdle = block.newer;
    if (block.newer) block.newer.older = block.older;
    else this.#newestIdle = block.older;
    block.older = null;
    block.newer = null;
    this.#numIdle -= 1;
  }
}
