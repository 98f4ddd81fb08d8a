import type { CacheOwner, KVCacheEvent } from '@skein/engine';
import { anonymousClient } from '@skein/openai-server';
import type { KVEventBatchMessage, KVEventMessage } from '@skein/protocol';
import type { KVEventBatch } from './kv-event-feed.ts';

/** Token ids in one message at most: 256 KiB of them, well below any bus's limit. */
const TOKENS_MAX = 65_536;

/** What a prompt's first block is bound to, as vLLM's extra_keys has it; null when anybody may share it. */
export function extraKeysOf({ client, cacheSalt }: CacheOwner): string[] | null {
  if (cacheSalt !== null) return [client, cacheSalt];
  return client === anonymousClient ? null : [client];
}

/** A batch as the bus carries it, in one message or more. */
export function* kvEventMessages({ sequence, ts, events }: KVEventBatch): Generator<KVEventBatchMessage> {
  let part: KVEventMessage[] = [];
  let numTokens = 0;
  for (const event of events.flatMap(inParts)) {
    const more = event.type === 'BlockStored' ? event.tokenIds.length : 0;
    if (numTokens + more > TOKENS_MAX && part.length > 0) {
      yield { sequence, ts, events: part };
      [part, numTokens] = [[], 0];
    }
    part.push(kvEventMessage(event));
    numTokens += more;
  }
  yield { sequence, ts, events: part };
}

function kvEventMessage(event: KVCacheEvent): KVEventMessage {
  if (event.type === 'AllBlocksCleared') return { type: event.type };
  const block_hashes = hashBytes(event.blockHashes);
  if (event.type === 'BlockRemoved') return { type: event.type, block_hashes };
  const { parentBlockHash: parent, tokenIds, blockSize, owner } = event;
  const words = Buffer.alloc(4 * tokenIds.length);
  for (const [i, id] of tokenIds.entries()) words.writeInt32LE(id, 4 * i);
  return {
    type: event.type,
    block_hashes,
    parent_block_hash: parent === null ? null : hashBytes([parent]),
    token_ids: new Uint8Array(words),
    block_size: blockSize,
    extra_keys: parent === null ? extraKeysOf(owner) : null,
  };
}

/** Cuts what is too long for one message. */
function inParts(event: KVCacheEvent): KVCacheEvent[] {
  if (event.type !== 'BlockStored' || event.tokenIds.length <= TOKENS_MAX) return [event];
  const { blockSize, blockHashes, tokenIds } = event;
  const step = Math.max(1, Math.floor(TOKENS_MAX / blockSize));
  return Array.from({ length: Math.ceil(blockHashes.length / step) }, (_, i) => ({
    ...event,
    blockHashes: blockHashes.slice(i * step, (i + 1) * step),
    parentBlockHash: i === 0 ? event.parentBlockHash : (blockHashes[i * step - 1] ?? null),
    tokenIds: tokenIds.slice(i * step * blockSize, (i + 1) * step * blockSize),
  }));
}

function hashBytes(hashes: readonly bigint[]): Uint8Array {
  const bytes = Buffer.alloc(8 * hashes.length);
  for (const [i, hash] of hashes.entries()) bytes.writeBigUInt64BE(hash, 8 * i);
  return new Uint8Array(bytes);
}
