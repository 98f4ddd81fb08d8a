import { newIdentity } from '@skein/protocol';
import { createLogger } from '@skein/telemetry';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { natsBus } from './bus.ts';

const lines: string[] = [];
const about = {
  identity: newIdentity('a'),
  groupKey: null,
  logger: createLogger({ level: 'info', format: 'json', sink: { write: (line) => lines.push(line) } }),
};

beforeEach(() => {
  lines.length = 0;
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => vi.useRealTimers());

test('a broker that is no URL is refused at once, with the variable and what to write', async () => {
  for (const url of ['banana', 'http://h:4222', 'nats://', 'nats://a,banana'])
    await expect(natsBus(url, about)).rejects.toMatchObject({
      code: 'ERR_ADDRESS',
      message: expect.stringMatching(/^SKEIN_NATS_URL: ".*" is no NATS server; write it as nats:\/\/host:port$/),
    });
  await expect(natsBus('http://secret@h', about)).rejects.toThrow(expect.not.stringContaining('secret'));
});

test('a broker that does not answer is waited for with a line every 5 s, and given up with the reason', async () => {
  const connecting = natsBus('nats://secret@127.0.0.1:1', { ...about, deadlineMs: 12_000 });
  connecting.catch(() => {});
  await vi.advanceTimersByTimeAsync(10_000);
  // Its own time is over with the next attempt.
  await vi.advanceTimersByTimeAsync(4000);
  await expect(connecting).rejects.toMatchObject({
    code: 'ERR_DEADLINE',
    message: expect.stringContaining('127.0.0.1:1'),
  });
  const waits = lines.filter((line) => line.includes('waiting for the broker at nats://127.0.0.1:1 since'));
  expect(waits.map((line) => /since (\d+) s/.exec(line)?.[1])).toEqual(['5', '10']);
  expect(lines.join('')).not.toContain('secret');
});
