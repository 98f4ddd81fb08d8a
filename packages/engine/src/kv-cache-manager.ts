import { BlockPool } from './block-pool.ts';
import { assert } from './errors.ts';

const NO_BLOCKS: readonly number[] = [];

/** Who holds which KV blocks. free + used = total at every moment; `checkIntegrity` proves it. */
export class KVCacheManager {
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly #pool: BlockPool;
  readonly #tables = new Map<string, number[]>();
  #numUsed = 0;

  constructor(options: { readonly numBlocks: number; readonly blockSize: number }) {
    this.numBlocks = options.numBlocks;
    this.blockSize = options.blockSize;
    this.#pool = new BlockPool(options.numBlocks);
  }

  get numFreeBlocks(): number {
    return this.#pool.numFree;
  }

  get numUsedBlocks(): number {
    return this.#numUsed;
  }

  blocksFor(numTokens: number): number {
    return Math.ceil(numTokens / this.blockSize);
  }

  /** Block ids of a request in position order; empty when it holds none. Read only, valid until the next call. */
  blockTable(requestId: string): readonly number[] {
    return this.#tables.get(requestId) ?? NO_BLOCKS;
  }

  /** Reserves blocks so that positions below `numTokens` are covered.
   *  @returns new block ids in position order (maybe none), or `null` when the pool is short; then nothing is reserved. */
  allocate(requestId: string, numTokens: number): number[] | null {
    const table = this.#tables.get(requestId);
    const numNew = Math.max(0, this.blocksFor(numTokens) - (table?.length ?? 0));
    if (numNew > this.#pool.numFree) return null;
    const ids = this.#pool.take(numNew);
    this.#numUsed += numNew;
    if (table) table.push(...ids);
    else if (numNew > 0) this.#tables.set(requestId, [...ids]);
    return ids;
  }

  /** Returns all blocks of a request. Steps under way may still write to them, and that is harmless: every rank runs steps
   *  in the order they were planned, so such a write comes before any write of the next owner, who reads no position it has
   *  not written itself. */
  free(requestId: string): void {
    const table = this.#tables.get(requestId);
    if (!table) return;
    this.#tables.delete(requestId);
    this.#numUsed -= table.length;
    // Released tail first: the pool hands out the oldest release, and a prefix outvalues its suffix.
    for (const id of table.toReversed()) this.#pool.release(id);
  }

  /** @throws EngineError ERR_INTERNAL when a block is lost, held twice, or both free and held. O(blocks). */
  checkIntegrity(): void {
    const seen = new Uint8Array(this.numBlocks);
    const held = [...this.#tables.values()].flat();
    for (const id of [...held, ...this.#pool.freeIds()]) {
      assert(seen[id] === 0, () => `KV block ${id} is held twice`);
      seen[id] = 1;
    }
    const [used, free] = [this.#numUsed, this.#pool.numFree];
    assert(used === held.length, () => `${used} KV blocks counted as used, ${held.length} held`);
    assert(used + free === this.numBlocks, () => `${used} used + ${free} free KV blocks, ${this.numBlocks} in all`);
  }
}
