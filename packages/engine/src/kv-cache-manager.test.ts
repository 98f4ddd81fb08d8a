import { describe, expect, it } from 'vitest';
import { type BlockHasher, Sha256BlockHasher } from './block-hash.ts';
import { KVCacheManager } from './kv-cache-manager.ts';
import type { KVCacheEvent } from './kv-cache-event.ts';
import { PrefixCache } from './prefix-cache.ts';
import { Request } from './request.ts';
import { Random } from './testing/random.ts';
import { greedy } from './testing/toy-request.ts';

const BLOCK = 4;

/** Makes every block of the cache look like every other one. */
const oneHash: BlockHasher = { root: () => 0n, block: () => 1n };

function setUp(numBlocks: number, options: { readonly hasher?: BlockHasher; readonly caching?: boolean } = {}) {
  const events: KVCacheEvent[] = [];
  const kv = new KVCacheManager({
    numBlocks,
    blockSize: BLOCK,
    prefixCache: options.caching === false ? null : new PrefixCache(),
    onEvent: (event) => events.push(event),
    ...(options.hasher ? { hasher: options.hasher } : {}),
  });
  return { kv, events };
}

function requestOf(id: string, promptTokenIds: readonly number[], owner: { client?: string; salt?: string } = {}) {
  const { client = 'c', salt = null } = owner;
  return new Request({ requestId: id, promptTokenIds, sampling: greedy, client, cacheSalt: salt }, 0);
}

const count = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i);

/** Admits a request and computes all its tokens. @returns how many it found; null when the pool is short. */
function run(kv: KVCacheManager, request: Request): number | null {
  const numCached = kv.admit(request, request.numTokens, 0);
  if (numCached === null) return null;
  request.numComputedTokens = request.numTokens;
  kv.cacheFullBlocks(request);
  kv.checkIntegrity();
  return numCached;
}

describe('KVCacheManager', () => {
  it('reserves whole blocks and reserves nothing when the pool is short', () => {
    const { kv } = setUp(4);
    const a = requestOf('a', count(5));
    expect(kv.admit(a, 5, 0)).toBe(0);
    expect(kv.blockTable('a')).toHaveLength(2);
    expect(kv.grow('a', 8)).toBe(true);
    expect(kv.blockTable('a')).toHaveLength(2);
    const b = requestOf('b', count(13, 50));
    expect(kv.admit(b, 13, 0)).toBeNull();
    expect(kv.admit(b, 8, 1)).toBeNull();
    expect([kv.blockTable('b'), kv.numFreeBlocks]).toEqual([[], 2]);
    expect(kv.admit(b, 8, 0)).toBe(0);
    expect(kv.grow('a', 9)).toBe(false);
    kv.checkIntegrity();
  });

  it('finds what another request computed, but always leaves the last token to compute', () => {
    const { kv } = setUp(16);
    run(kv, requestOf('a', count(12)));
    const shared = kv.blockTable('a').slice(0, 2);
    expect(run(kv, requestOf('b', count(12)))).toBe(8);
    expect(kv.blockTable('b').slice(0, 2)).toEqual(shared);
    expect(run(kv, requestOf('c', [...count(9), 99, 98, 97]))).toBe(8);
    expect(run(kv, requestOf('d', count(13)))).toBe(12);
    expect(run(kv, requestOf('e', [99, ...count(11, 1)]))).toBe(0);
  });

  it('shares within a client and salt only', () => {
    const { kv } = setUp(64);
    run(kv, requestOf('a', count(12)));
    expect(run(kv, requestOf('b', count(12), { client: 'other' }))).toBe(0);
    expect(run(kv, requestOf('c', count(12), { salt: 's' }))).toBe(0);
    expect(run(kv, requestOf('d', count(12), { salt: 's' }))).toBe(8);
    expect(run(kv, requestOf('e', count(12), { client: 'c","s' }))).toBe(0);
    expect(run(kv, requestOf('f', count(12)))).toBe(8);
  });

  it('takes nothing on the word of a hash', () => {
    const { kv } = setUp(16, { hasher: oneHash });
    run(kv, requestOf('a', count(8)));
    expect(run(kv, requestOf('b', count(8, 100)))).toBe(0);
    expect(run(kv, requestOf('c', count(8), { client: 'other' }))).toBe(0);
    expect(run(kv, requestOf('d', count(8)))).toBe(4);
  });

  it('keeps a known block out of the cache until it is planned, and an unknown one too', () => {
    const { kv } = setUp(16);
    const a = requestOf('a', count(8));
    kv.admit(a, 8, 0);
    a.numComputedTokens = 7;
    kv.cacheFullBlocks(a);
    expect(run(kv, requestOf('b', count(9)))).toBe(4);
    const c = requestOf('c', count(7, 50));
    kv.admit(c, 8, 0);
    // The eighth token is computed but still to be sampled.
    c.numComputedTokens = 8;
    kv.cacheFullBlocks(c);
    expect(run(kv, requestOf('d', count(9, 50)))).toBe(4);
  });

  it('keeps equal content once when two requests compute it side by side', () => {
    const { kv } = setUp(8);
    const [a, b] = [requestOf('a', count(9)), requestOf('b', count(9))];
    kv.admit(a, 9, 0);
    kv.admit(b, 9, 0);
    for (const r of [a, b]) {
      r.numComputedTokens = 9;
      kv.cacheFullBlocks(r);
      kv.checkIntegrity();
    }
    expect(kv.blockTable('b').slice(0, 2)).toEqual(kv.blockTable('a').slice(0, 2));
    expect([kv.numUsedBlocks, kv.numSharedTokens('b')]).toEqual([4, 8]);
  });

  it('gives out free blocks before cached ones, the last release first; evicts the oldest, suffix before prefix', () => {
    const { kv, events } = setUp(6);
    const [a, b] = [requestOf('a', count(8)), requestOf('b', count(5, 50))];
    run(kv, a);
    run(kv, b);
    const [first, second] = kv.blockTable('a');
    const last = kv.blockTable('b')[1];
    kv.free('a');
    kv.free('b');
    expect([kv.numFreeBlocks, kv.numCachedBlocks, kv.numUsedBlocks]).toEqual([3, 3, 0]);
    events.length = 0;
    kv.admit(requestOf('c', count(20, 70)), 17, 0);
    expect(kv.blockTable('c')).toEqual([last, 4, 5, second, first]);
    expect(events).toEqual([{ type: 'BlockRemoved', blockHashes: [a.blockHashes[1], a.blockHashes[0]] }]);
    expect(run(kv, requestOf('d', count(4, 50)))).toBe(0);
    expect(run(kv, requestOf('e', count(1)))).toBeNull();
  });

  it('does not evict what it has just found', () => {
    const { kv } = setUp(3);
    run(kv, requestOf('a', count(8)));
    kv.free('a');
    expect(run(kv, requestOf('b', count(12)))).toBe(8);
    expect(run(kv, requestOf('c', count(1, 9)))).toBeNull();
  });

  it('says what is stored, in runs, with names that a listener can chain', () => {
    const { kv, events } = setUp(16);
    const a = requestOf('a', count(12), { salt: 's' });
    run(kv, requestOf('x', count(5), { salt: 's' }));
    run(kv, a);
    const hasher = new Sha256BlockHasher(BLOCK);
    const first = hasher.block(hasher.root('["c","s"]'), count(4), 0, 4);
    expect(events[0]).toMatchObject({ blockHashes: [first], parentBlockHash: null, tokenIds: count(4) });
    expect(events[1]).toEqual({
      type: 'BlockStored',
      blockHashes: a.blockHashes.slice(1),
      parentBlockHash: first,
      tokenIds: count(8, 4),
      blockSize: BLOCK,
      owner: { client: 'c', cacheSalt: 's' },
    });
    expect(events).toHaveLength(2);
  });

  it('finds nothing when it caches nothing', () => {
    const { kv, events } = setUp(16, { caching: false });
    run(kv, requestOf('a', count(12)));
    expect(run(kv, requestOf('b', count(12)))).toBe(0);
    kv.free('a');
    expect([kv.numCachedBlocks, events]).toEqual([0, []]);
  });

  it.each([undefined, oneHash])('loses and doubles no block, whatever is asked of it (hasher %#)', (hasher) => {
    const random = new Random(7);
    const { kv } = setUp(20, hasher ? { hasher } : {});
    const live = new Map<string, Request>();
    for (let i = 0; i < 5_000; i++) {
      const id = `r${random.int(0, 5)}`;
      const request = live.get(id);
      if (!request) {
        const fresh = requestOf(
          id,
          Array.from({ length: random.int(1, 30) }, () => random.int(0, 1)),
        );
        if (run(kv, fresh) !== null) live.set(id, fresh);
      } else if (random.chance(0.3)) {
        kv.free(id);
        live.delete(id);
      } else {
        const before = kv.blockTable(id).length;
        const numTokens = request.numTokens + random.int(1, 9);
        const grown = kv.grow(id, numTokens);
        expect(kv.blockTable(id)).toHaveLength(grown ? Math.max(before, Math.ceil(numTokens / BLOCK)) : before);
      }
      kv.checkIntegrity();
    }
  });
});
