import { expect, test } from 'vitest';
import { kvPoolBlocks, type LoadedRank } from './kv-pool.ts';

const rank: LoadedRank = { hostId: 'a', blockBytes: 10, weightBytes: 200, availableBytes: 1200 };

test('one rank takes its share of what its weights leave, and those of replicas to come', () => {
  expect(kvPoolBlocks([rank], 0.5, 0)).toBe(60);
  expect(kvPoolBlocks([rank], 0.25, 1)).toBe(25);
});

test('ranks of one host share it; the tightest host decides', () => {
  expect(kvPoolBlocks([rank, { ...rank, blockBytes: 30, availableBytes: 1400 }], 0.5, 0)).toBe(15);
  expect(kvPoolBlocks([rank, { ...rank, hostId: 'b', availableBytes: 300 }], 0.5, 0)).toBe(15);
  expect(kvPoolBlocks([rank, { ...rank, blockBytes: 30 }], 0.25, 2)).toBe(2);
});

test('a host whose ranks have no attention sets no bound', () => {
  expect(kvPoolBlocks([rank, { ...rank, hostId: 'b', blockBytes: 0, availableBytes: 100 }], 0.5, 0)).toBe(60);
});

test('too little says how much it is', () => {
  expect(() => kvPoolBlocks([{ ...rank, availableBytes: 205 }], 0.5, 1)).toThrow(
    '0.5 of the 5 bytes that the weights leave on a host hold no KV block of 10 bytes',
  );
});
