import { hash } from 'node:crypto';

/** 64 bits that name a full block: its tokens, all tokens before them, and whose cache it is in. As vLLM's KV events have it,
 *  the last 8 bytes of a SHA-256, big-endian. An index and a name for outsiders; nothing is reused on its word alone. */
export type BlockHash = bigint;

/** How full blocks get their names; chained, so that equal tokens after different prefixes differ. Injected, so that tests
 *  can force collisions. */
export interface BlockHasher {
  /** The parent of a request's first block. */
  root(cacheKey: string): BlockHash;
  /** Of tokens `start` up to `end` of `tokenIds`. */
  block(parent: BlockHash, tokenIds: readonly number[], start: number, end: number): BlockHash;
}

const DIGEST_BYTES = 32;

function last8Bytes(data: string | Uint8Array): BlockHash {
  return hash('sha256', data, 'buffer').readBigUInt64BE(DIGEST_BYTES - 8);
}

export class Sha256BlockHasher implements BlockHasher {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(blockSize: number) {
    this.#bytes = new Uint8Array(8 + 4 * blockSize);
    this.#view = new DataView(this.#bytes.buffer);
  }

  root(cacheKey: string): BlockHash {
    return last8Bytes(cacheKey);
  }

  block(parent: BlockHash, tokenIds: readonly number[], start: number, end: number): BlockHash {
    this.#view.setBigUint64(0, parent);
    for (let i = start; i < end; i++) this.#view.setInt32(8 + 4 * (i - start), tokenIds[i] ?? -1);
    return last8Bytes(this.#bytes);
  }
}
