import type { BlockHash } from '../../block-hash.ts';
import type { KVCacheEvent } from '../../kv-cache-event.ts';
import { hold } from './violation.ts';

/** A listener that knows the prefix cache from its events alone, and holds each event against what it knows. */
export class EventMirror {
  readonly #cached = new Map<BlockHash, BlockHash | null>();
  readonly #numChildren = new Map<BlockHash, number>();

  take(event: KVCacheEvent): void {
    if (event.type === 'AllBlocksCleared') {
      this.#cached.clear();
      this.#numChildren.clear();
    } else if (event.type === 'BlockRemoved') {
      for (const hash of event.blockHashes) this.#remove(hash);
    } else {
      let parent = event.parentBlockHash;
      hold(event.tokenIds.length === event.blockHashes.length * event.blockSize, () => 'an event lacks tokens');
      for (const hash of event.blockHashes) {
        this.#add(hash, parent);
        parent = hash;
      }
    }
  }

  /** Holds what is cached, told from scratch, against what the events have told. */
  checkAgainst(stored: readonly KVCacheEvent[]): void {
    const scratch = new EventMirror();
    for (const event of stored) scratch.take(event);
    hold(scratch.#cached.size === this.#cached.size, () => `${scratch.#cached.size} cached, ${this.#cached.size} told`);
    for (const [hash, parent] of scratch.#cached)
      hold(this.#cached.get(hash) === parent, () => `block ${hash} is cached after ${parent}, told otherwise`);
  }

  #add(hash: BlockHash, parent: BlockHash | null): void {
    hold(!this.#cached.has(hash), () => `block ${hash} is stored twice`);
    hold(parent === null || this.#cached.has(parent), () => `block ${hash} is stored without its parent`);
    this.#cached.set(hash, parent);
    if (parent !== null) this.#numChildren.set(parent, (this.#numChildren.get(parent) ?? 0) + 1);
  }

  #remove(hash: BlockHash): void {
    const parent = this.#cached.get(hash);
    hold(parent !== undefined, () => `block ${hash} is removed and was never stored`);
    hold((this.#numChildren.get(hash) ?? 0) === 0, () => `block ${hash} is removed before its suffix`);
    this.#cached.delete(hash);
    if (parent !== null) this.#numChildren.set(parent, (this.#numChildren.get(parent) ?? 0) - 1);
  }
}
