import { assert } from './errors.ts';

/** One KV block of the pool. `generation` counts its owners, so that a late reader can tell that it is not theirs. */
export interface KVCacheBlock {
  readonly id: number;
  refCount: number;
  generation: number;
}

/** All KV blocks of an executor. Free blocks wait in a ring, oldest release first: with a prefix cache, the ring's order is
 *  the eviction order. */
export class BlockPool {
  readonly blocks: readonly KVCacheBlock[];
  readonly #ring: Int32Array;
  #head = 0;
  #numFree: number;

  constructor(numBlocks: number) {
    this.blocks = Array.from({ length: numBlocks }, (_, id) => ({ id, refCount: 0, generation: 0 }));
    this.#ring = Int32Array.from({ length: numBlocks }, (_, id) => id);
    this.#numFree = numBlocks;
  }

  get numFree(): number {
    return this.#numFree;
  }

  /** Takes `count` free blocks; the caller has checked that they are there. */
  take(count: number): number[] {
    assert(count <= this.#numFree, () => `${count} KV blocks taken, ${this.#numFree} free`);
    const ids: number[] = [];
    for (let i = 0; i < count; i++) {
      const id = this.#ring[this.#head] ?? -1;
      this.#head = (this.#head + 1) % this.#ring.length;
      const block = this.#block(id);
      assert(block.refCount === 0, () => `free KV block ${id} has ${block.refCount} owners`);
      block.refCount = 1;
      block.generation += 1;
      ids.push(id);
    }
    this.#numFree -= count;
    return ids;
  }

  release(id: number): void {
    const block = this.#block(id);
    assert(block.refCount > 0, () => `KV block ${id} released twice`);
    block.refCount -= 1;
    if (block.refCount > 0) return;
    this.#ring[(this.#head + this.#numFree) % this.#ring.length] = id;
    this.#numFree += 1;
  }

  /** Ids of the free blocks, next to be taken first. */
  freeIds(): number[] {
    return Array.from({ length: this.#numFree }, (_, i) => this.#ring[(this.#head + i) % this.#ring.length] ?? -1);
  }

  #block(id: number): KVCacheBlock {
    const block = this.blocks[id];
    assert(block !== undefined, () => `no KV block ${id} in a pool of ${this.blocks.length}`);
    return block;
  }
}
