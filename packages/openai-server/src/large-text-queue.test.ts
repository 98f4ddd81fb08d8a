import { expect, test } from 'vitest';
import { LargeTextQueue } from './large-text-queue.ts';

const large = 100_000;
const never = new Promise<void>(() => {});

test('large texts are encoded one by one, in order, after a failure too; small ones at once', async () => {
  const queue = new LargeTextQueue();
  const log: string[] = [];
  const work = (name: string) => async (): Promise<string> => {
    log.push(`${name} begins`);
    await new Promise((resolve) => setImmediate(resolve));
    log.push(`${name} ends`);
    if (name === 'a') throw new Error('a fails');
    return name;
  };
  const results = await Promise.allSettled([
    queue.run(large, work('a')),
    queue.run(large, work('b')),
    queue.run(10, work('small')),
  ]);
  expect(results.map((result) => (result.status === 'fulfilled' ? result.value : 'failed'))).toEqual([
    'failed',
    'b',
    'small',
  ]);
  expect(log.filter((line) => !line.startsWith('small'))).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
  expect(log.indexOf('small begins')).toBeLessThan(log.indexOf('a ends'));
});

test('more than 64 waiting are refused', async () => {
  const queue = new LargeTextQueue();
  for (let i = 0; i < 64; i++) void queue.run(large, () => never);
  await expect(queue.run(large, () => never)).rejects.toMatchObject({ status: 429 });
  expect(await queue.run(10, () => Promise.resolve('small'))).toBe('small');
});
