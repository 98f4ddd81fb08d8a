import { expect, test } from 'vitest';
import { mergeStreams } from './merge-streams.ts';
import { collect } from './testing/collect.ts';

async function* count(
  name: string,
  to: number,
  stats = { asked: 0, closed: 0 },
): AsyncGenerator<string, void, undefined> {
  try {
    for (let i = 0; i < to; i++) {
      stats.asked += 1;
      await new Promise((resolve) => setImmediate(resolve));
      yield `${name}${i}`;
    }
  } finally {
    stats.closed += 1;
  }
}

test('gives every value once, each stream in its own order', async () => {
  const values = await collect(mergeStreams([count('a', 3), count('b', 0), count('c', 2)]));
  expect(values.toSorted()).toEqual(['a0', 'a1', 'a2', 'c0', 'c1']);
  expect(values.filter((value) => value.startsWith('a'))).toEqual(['a0', 'a1', 'a2']);
});

test('runs no stream ahead of its consumer', async () => {
  const stats = { asked: 0, closed: 0 };
  const merged = mergeStreams([count('a', 100, stats), count('b', 100, stats)]);
  await merged.next();
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  expect(stats.asked).toBe(2);
  await merged.return();
  await expect.poll(() => stats.closed).toBe(2);
});

test('ends all streams when one fails', async () => {
  const stats = { asked: 0, closed: 0 };
  async function* failing(): AsyncGenerator<string, void, undefined> {
    yield 'x';
    await Promise.reject(new Error('broken'));
  }
  await expect(collect(mergeStreams([count('a', 1000, stats), failing()]))).rejects.toThrow('broken');
  await expect.poll(() => stats.closed).toBe(1);
});
