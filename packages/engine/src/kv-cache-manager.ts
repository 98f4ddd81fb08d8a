import { type BlockHash, type BlockHasher, Sha256BlockHasher } from './block-hash.ts';
import { BlockPool, type CachedTokens, type KVCacheBlock } from './block-pool.ts';
import { assert } from './errors.ts';
import { type KVCacheEvent, ownerOf } from './kv-cache-event.ts';
import type { PrefixCache, WantedBlock } from './prefix-cache.ts';
import type { Request } from './request.ts';

const NO_BLOCKS: readonly number[] = [];

/** What the cache must know of a request. */
export type BlockHolder = Pick<
  Request,
  'id' | 'tokenIds' | 'numComputedTokens' | 'numSkippableTokens' | 'owner' | 'cacheKey' | 'blockHashes'
>;

export interface KVCacheOptions {
  readonly numBlocks: number;
  readonly blockSize: number;
  /** null: nothing is reused. */
  readonly prefixCache: PrefixCache | null;
  readonly hasher?: BlockHasher;
  readonly pool?: BlockPool;
  /** Told of every change of the prefix cache, in order; null for nobody. */
  readonly onEvent?: ((event: KVCacheEvent) => void) | null;
}

interface BlockTable {
  readonly ids: number[];
  /** Blocks, from the first, that are in the prefix cache. */
  numCached: number;
  /** False once a hash collided: what follows such a block has no parent to hang on. */
  mayCache: boolean;
}

/** Who holds which KV blocks, and what idle blocks can be used again. free + cached + used = total at every moment;
 *  `checkIntegrity` proves it.
 *
 *  Why no step ever reads what is not there. Every rank runs steps in the order in which they were planned.
 *  1. A block enters the cache when each of its positions belongs to a planned step and each of its tokens is known. Who finds
 *     it there is planned later, so reads later.
 *  2. A cached block is full, and a position is computed once in a residency: nobody writes to it while it is cached. A hit
 *     ends at a block's end and before the last known token, so a sharer's next position is in a block of its own.
 *  3. A block that leaves a table may still be written by steps under way. Its next owner's writes are planned later, thus
 *     come later, and by 1. nobody reads a position before its owner's write of it. */
export class KVCacheManager {
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly #pool: BlockPool;
  readonly #cache: PrefixCache | null;
  readonly #hasher: BlockHasher;
  readonly #onEvent: ((event: KVCacheEvent) => void) | null;
  readonly #tables = new Map<string, BlockTable>();
  #evicted: BlockHash[] = [];

  constructor(options: KVCacheOptions) {
    this.numBlocks = options.numBlocks;
    this.blockSize = options.blockSize;
    this.#pool = options.pool ?? new BlockPool(options.numBlocks);
    this.#cache = options.prefixCache;
    this.#hasher = options.hasher ?? new Sha256BlockHasher(options.blockSize);
    this.#onEvent = options.onEvent ?? null;
  }

  /** Blocks that nobody holds and that hold nothing. */
  get numFreeBlocks(): number {
    return this.#pool.numFree;
  }

  /** Blocks kept for the prefix cache alone; given out when no free block is left. */
  get numCachedBlocks(): number {
    return this.#pool.numCached;
  }

  get numUsedBlocks(): number {
    return this.#pool.numUsed;
  }

  blocksFor(numTokens: number): number {
    return Math.ceil(numTokens / this.blockSize);
  }

  /** Block ids of a request in position order; empty when it holds none. Read only, valid until the next call. */
  blockTable(requestId: string): readonly number[] {
    return this.#tables.get(requestId)?.ids ?? NO_BLOCKS;
  }

  /** Gives a request that holds nothing blocks for its first `numTokens` tokens: cached ones as far as they go, then new ones.
   *  `numSpare` blocks must remain. @returns how many tokens need no computing, or null when the pool is short; then nothing
   *  is reserved. */
  admit(request: BlockHolder, numTokens: number, numSpare: number): number | null {
    const hits = this.#findCached(request);
    const numIdle = hits.reduce((n, block) => n + (block.refCount === 0 ? 1 : 0), 0);
    const numNew = this.blocksFor(numTokens) - hits.length;
    if (numNew + numIdle + numSpare > this.#pool.numAvailable) return null;
    assert(!this.#tables.has(request.id), () => `request ${request.id} holds KV blocks already`);
    for (const block of hits) this.#pool.share(block);
    const ids = hits.map((block) => block.id);
    this.#tables.set(request.id, { ids, numCached: hits.length, mayCache: true });
    this.#take(numNew, ids);
    return hits.length * this.blockSize;
  }

  /** Reserves blocks so that the positions below `numTokens` of an admitted request are covered. @returns false when the pool
   *  is short; then nothing is reserved. */
  grow(requestId: string, numTokens: number): boolean {
    const table = this.#tables.get(requestId);
    assert(table !== undefined, () => `request ${requestId} holds no KV blocks`);
    const numNew = this.blocksFor(numTokens) - table.ids.length;
    if (numNew > this.#pool.numAvailable) return false;
    if (numNew > 0) this.#take(numNew, table.ids);
    return true;
  }

  /** Puts blocks of a request that are full, known and planned into the prefix cache. Where an equal block is there already,
   *  the request goes over to that one: then a block in a table has its parents in the same table, cached, and no content is
   *  kept twice. */
  cacheFullBlocks(request: BlockHolder): void {
    const table = this.#tables.get(request.id);
    const cache = this.#cache;
    if (!table || !cache || !table.mayCache) return;
    const numFull = this.numFullBlocks(Math.min(request.numComputedTokens, request.tokenIds.length));
    if (numFull <= table.numCached) return;
    let stored: { first: number; count: number } | null = null;
    for (; table.numCached < numFull; table.numCached++) {
      const i = table.numCached;
      const own = this.#block(table.ids[i]);
      const wanted = this.#wanted(request, i, i === 0 ? null : this.#block(table.ids[i - 1]));
      const twin = cache.find(wanted);
      if (twin) {
        this.#pool.share(twin);
        this.#pool.release(own);
        table.ids[i] = twin.id;
        this.#reportStored(request, stored);
        stored = null;
      } else if (cache.add(own, wanted)) {
        stored ??= { first: i, count: 0 };
        stored.count += 1;
      } else {
        table.mayCache = false;
        break;
      }
    }
    this.#reportStored(request, stored);
  }

  /** Whether `other` is about to compute the block that `request` would have to compute first: then waiting for it is cheaper
   *  than computing it twice. By hash alone, since only time is at stake. */
  wouldShare(request: BlockHolder, other: BlockHolder): boolean {
    const table = this.#tables.get(other.id);
    if (!this.#cache || !table?.mayCache || request.cacheKey !== other.cacheKey) return false;
    const i = table.numCached;
    const [limit, known] = [this.numFullBlocks(request.numSkippableTokens), this.numFullBlocks(other.tokenIds.length)];
    if (i >= limit || i >= known) return false;
    return this.#hashes(request, i + 1)[i] === this.#hashes(other, i + 1)[i];
  }

  /** Tokens of a request whose blocks others hold too: they stay cached whatever becomes of it. */
  numSharedTokens(requestId: string): number {
    // A parent has all the owners that its child has, so the shared blocks come first.
    const ids = this.blockTable(requestId);
    const first = ids.findIndex((id) => this.#block(id).refCount === 1);
    return (first < 0 ? ids.length : first) * this.blockSize;
  }

  /** Takes all blocks from a request; those in the prefix cache can be found until they are evicted. */
  free(requestId: string): void {
    const table = this.#tables.get(requestId);
    if (!table) return;
    this.#tables.delete(requestId);
    // Tail first: the least recently used is evicted first, and a prefix outvalues its suffix.
    for (let i = table.ids.length - 1; i >= 0; i--) this.#pool.release(this.#block(table.ids[i]));
  }

  /** All that is cached, as the events that would bring a listener there: parents before children. */
  storedBlocks(): KVCacheEvent[] {
    const { blockSize } = this;
    const events: KVCacheEvent[] = [];
    const told = new Set<CachedTokens>();
    for (const { cached } of this.#pool.blocks) {
      const run: CachedTokens[] = [];
      for (let block = cached; block && !told.has(block); block = block.parent) {
        run.push(block);
        told.add(block);
      }
      const first = run.at(-1);
      if (!first) continue;
      run.reverse();
      events.push({
        type: 'BlockStored',
        blockHashes: run.map(({ hash }) => hash),
        parentBlockHash: first.parent?.hash ?? null,
        tokenIds: run.flatMap(({ tokenIds }) => tokenIds),
        blockSize,
        owner: ownerOf(first.cacheKey),
      });
    }
    return events;
  }

  /** @throws EngineError ERR_INTERNAL when a block is lost, miscounted, both waiting and held, or cached without its
   *  parent. O(blocks). */
  checkIntegrity(): void {
    const { free, idle } = this.#pool.waiting();
    const owners = new Int32Array(this.numBlocks);
    for (const { ids } of this.#tables.values()) for (const id of ids) owners[id] = (owners[id] ?? 0) + 1;
    // When each block is due for eviction; held ones never are.
    const never = idle.length;
    const due = new Int32Array(this.numBlocks).fill(never);
    idle.forEach((block, i) => (due[block.id] = i));
    let numUsed = 0;
    let numCached = 0;
    for (const { id, refCount, cached } of this.#pool.blocks) {
      assert(refCount === owners[id], () => `KV block ${id} counts ${refCount} owners, has ${owners[id]}`);
      if (refCount > 0) numUsed += 1;
      if (!cached) continue;
      numCached += 1;
      const { parent } = cached;
      if (!parent) continue;
      assert(this.#block(parent.blockId).cached === parent, () => `the parent of KV block ${id} is not cached`);
      const own = due[id] ?? 0;
      const parents = due[parent.blockId] ?? 0;
      assert(own < parents || parents === never, () => `KV block ${id} would outlive its parent`);
    }
    for (const { id, refCount, cached } of free)
      assert(refCount === 0 && cached === null, () => `free KV block ${id} is used or cached`);
    for (const { id, refCount, cached } of idle)
      assert(refCount === 0 && cached !== null, () => `idle KV block ${id} is used or not cached`);
    const { numFreeBlocks: f, numCachedBlocks: c, numUsedBlocks: u } = this;
    assert(f === free.length && c === idle.length && u === numUsed, () => `KV blocks are miscounted: ${f}, ${c}, ${u}`);
    assert(f + c + u === this.numBlocks, () => `${f} free + ${c} cached + ${u} used KV blocks of ${this.numBlocks}`);
    const size = this.#cache?.size ?? 0;
    assert(size === numCached, () => `the prefix cache has ${size} entries for ${numCached} blocks`);
  }

  /** How many blocks `numTokens` tokens fill. */
  protected numFullBlocks(numTokens: number): number {
    return Math.floor(numTokens / this.blockSize);
  }

  #findCached(request: BlockHolder): KVCacheBlock[] {
    const hits: KVCacheBlock[] = [];
    if (!this.#cache) return hits;
    const most = this.numFullBlocks(request.numSkippableTokens);
    for (let i = 0; i < most; i++) {
      const block = this.#cache.find(this.#wanted(request, i, hits.at(-1) ?? null));
      if (!block) break;
      hits.push(block);
    }
    return hits;
  }

  #wanted(request: BlockHolder, i: number, parent: KVCacheBlock | null): WantedBlock {
    const hash = this.#hashes(request, i + 1)[i] ?? 0n;
    const [start, end] = [i * this.blockSize, (i + 1) * this.blockSize];
    const { cacheKey, tokenIds } = request;
    return { hash, parent: parent?.cached ?? null, cacheKey, tokenIds, start, end };
  }

  /** The request's block hashes, at least the first `count`: computed once, since known tokens never change. */
  #hashes(request: BlockHolder, count: number): readonly BlockHash[] {
    const { blockHashes: hashes, tokenIds, cacheKey } = request;
    for (let i = hashes.length; i < count; i++) {
      const parent = i === 0 ? this.#hasher.root(cacheKey) : (hashes[i - 1] ?? 0n);
      hashes.push(this.#hasher.block(parent, tokenIds, i * this.blockSize, (i + 1) * this.blockSize));
    }
    return hashes;
  }

  #take(count: number, ids: number[]): void {
    for (let i = 0; i < count; i++) ids.push(this.#pool.take((block) => this.#evict(block)).id);
    if (this.#evicted.length === 0) return;
    this.#onEvent?.({ type: 'BlockRemoved', blockHashes: this.#evicted });
    this.#evicted = [];
  }

  #evict(block: KVCacheBlock): void {
    if (this.#onEvent && block.cached) this.#evicted.push(block.cached.hash);
    this.#cache?.remove(block);
  }

  #reportStored(request: BlockHolder, run: { readonly first: number; readonly count: number } | null): void {
    if (!run || !this.#onEvent) return;
    const { blockHashes, tokenIds, owner } = request;
    const end = run.first + run.count;
    this.#onEvent({
      type: 'BlockStored',
      blockHashes: blockHashes.slice(run.first, end),
      parentBlockHash: blockHashes[run.first - 1] ?? null,
      tokenIds: tokenIds.slice(run.first * this.blockSize, end * this.blockSize),
      blockSize: this.blockSize,
      owner,
    });
  }

  #block(id: number | undefined): KVCacheBlock {
    const block = this.#pool.blocks[id ?? -1];
    assert(block !== undefined, () => `no KV block ${id} in a pool of ${this.numBlocks}`);
    return block;
  }
}
