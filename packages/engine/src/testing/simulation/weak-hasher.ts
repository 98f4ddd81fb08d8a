import type { BlockHash, BlockHasher } from '../../block-hash.ts';
import { fold } from './truth.ts';

/** Block hashes of so few bits that different blocks meet in one. */
export class WeakHasher implements BlockHasher {
  readonly #shift: number;

  constructor(numBits: number) {
    this.#shift = 32 - numBits;
  }

  root(cacheKey: string): BlockHash {
    let hash = 17;
    for (let i = 0; i < cacheKey.length; i++) hash = fold(hash, cacheKey.charCodeAt(i));
    return this.#cut(hash);
  }

  block(parent: BlockHash, tokenIds: readonly number[], start: number, end: number): BlockHash {
    let hash = Number(parent) | 0;
    for (let i = start; i < end; i++) hash = fold(hash, tokenIds[i] ?? -1);
    return this.#cut(hash);
  }

  #cut(hash: number): BlockHash {
    return BigInt(hash >>> this.#shift);
  }
}
