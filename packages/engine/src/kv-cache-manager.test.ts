import { describe, expect, it } from 'vitest';
import { KVCacheManager } from './kv-cache-manager.ts';
import { Random } from './testing/random.ts';

describe('KVCacheManager', () => {
  it('reserves whole blocks and says null when the pool is short', () => {
    const kv = new KVCacheManager({ numBlocks: 4, blockSize: 16 });
    expect(kv.allocate('a', 17)).toHaveLength(2);
    expect(kv.allocate('a', 32)).toEqual([]);
    expect(kv.allocate('b', 49)).toBeNull();
    expect(kv.blockTable('b')).toEqual([]);
    expect(kv.numFreeBlocks).toBe(2);
    expect(kv.allocate('b', 32)).toHaveLength(2);
    expect(kv.allocate('a', 33)).toBeNull();
    kv.checkIntegrity();
  });

  it('frees tail first, so that the suffix is reused before the prefix', () => {
    const kv = new KVCacheManager({ numBlocks: 3, blockSize: 16 });
    const ids = kv.allocate('a', 48) ?? [];
    kv.free('a');
    kv.free('a');
    expect(kv.allocate('b', 48)).toEqual(ids.toReversed());
  });

  it('loses and doubles no block, whatever is asked of it', () => {
    const random = new Random(7);
    const kv = new KVCacheManager({ numBlocks: 20, blockSize: 16 });
    for (let i = 0; i < 5_000; i++) {
      const id = `r${random.int(0, 5)}`;
      const before = [...kv.blockTable(id)];
      if (random.chance(0.3)) kv.free(id);
      else if (kv.allocate(id, random.int(1, 160))) expect(kv.blockTable(id).slice(0, before.length)).toEqual(before);
      kv.checkIntegrity();
      expect(kv.numFreeBlocks + kv.numUsedBlocks).toBe(20);
    }
  });
});
