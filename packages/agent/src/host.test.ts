import { createLogger, silentLogger } from '@skein/telemetry';
import { afterEach, expect, test, vi } from 'vitest';
import { routeSource } from './network/host-network.ts';
import { hostId, isLoopback, resolveLeader } from './host.ts';

const never = new AbortController().signal;

afterEach(() => {
  vi.useRealTimers();
});

test.each([
  ['10.1.2.3', '10.1.2.3'],
  ['fd00::1', 'fd00::1'],
  ['127.0.0.1', '127.0.0.1'],
  ['localhost', '127.0.0.1'],
  ['skein-0.skein.localhost', '127.0.0.1'],
])('%s is %s, without a resolver', async (address, expected) => {
  const resolver = (): Promise<never> => Promise.reject(new Error('was asked'));
  expect(await resolveLeader(address, { logger: silentLogger, signal: never, resolver })).toBe(expected);
});

test('a name is asked for until it resolves, and the wait says for what and why', async () => {
  vi.useFakeTimers({ toFake: ['setInterval'] });
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', format: 'json', sink: { write: (line: string) => lines.push(line) } });
  let asked = 0;
  const resolver = async (): Promise<{ address: string }[]> => {
    asked += 1;
    if (asked === 2) vi.advanceTimersByTime(5000);
    if (asked < 3) throw Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' });
    return [{ address: '10.0.0.9' }];
  };
  expect(await resolveLeader('chat-0.chat', { logger, signal: never, resolver })).toBe('10.0.0.9');
  expect(asked).toBe(3);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('waiting for the name chat-0.chat (LWS_LEADER_ADDRESS) to resolve since');
  expect(lines[0]).toContain('ENOTFOUND');
});

test.each(['127.0.1.1', '::1'])(
  'a name that resolves to %s is refused: others would find themselves',
  async (address) => {
    await expect(
      resolveLeader('chat-0', { logger: silentLogger, signal: never, resolver: async () => [{ address }] }),
    ).rejects.toMatchObject({
      code: 'ERR_LWS_ENVIRONMENT',
      message: expect.stringContaining(`LWS_LEADER_ADDRESS chat-0 resolves to ${address}`),
    });
  },
);

test('the wait ends with its signal, also while the resolver hangs', async () => {
  const resolver = (): Promise<never> => new Promise(() => {});
  await expect(
    resolveLeader('chat-0', { logger: silentLogger, signal: AbortSignal.timeout(20), resolver }),
  ).rejects.toMatchObject({ name: 'TimeoutError' });
});

test.each([
  ['knows no such name', () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' })), 'ENOTFOUND'],
  ['hangs', () => new Promise<never>(() => {}), 'the resolver does not answer'],
])(
  'the wait has a deadline, and its error names the host and what to check: a resolver that %s',
  async (_, resolver, why) => {
    await expect(
      resolveLeader('chat-0.chat', { logger: silentLogger, signal: never, resolver, deadlineMs: 150 }),
    ).rejects.toMatchObject({
      name: 'LeaderNotFoundError',
      code: 'ERR_LEADER_NOT_FOUND',
      message: expect.stringMatching(
        new RegExp(
          `^LWS_LEADER_ADDRESS chat-0.chat has not resolved in 0.15 s \\(${why}\\); check that the leader runs`,
        ),
      ),
    });
  },
);

test('the host id is one for this process', () => {
  expect(hostId()).toBe(hostId());
  expect(hostId()).toMatch(/^[0-9a-f]{16}$/);
});

test('of several addresses the first with a route is taken, else the first', async () => {
  // A broadcast, to which a plain socket cannot be connected.
  const resolver = async (): Promise<{ address: string }[]> => [
    { address: '255.255.255.255' },
    { address: '10.0.0.9' },
  ];
  const only = async (): Promise<{ address: string }[]> => [{ address: '255.255.255.255' }];
  const hasRoute = (await routeSource('10.0.0.9')) !== null;
  const options = { logger: silentLogger, signal: never };
  expect(await resolveLeader('chat-0', { ...options, resolver })).toBe(hasRoute ? '10.0.0.9' : '255.255.255.255');
  expect(await resolveLeader('chat-0', { ...options, resolver: only })).toBe('255.255.255.255');
});

test('loopback is told from other addresses', () => {
  expect(['127.0.0.1', '::1', 'localhost'].every(isLoopback)).toBe(true);
  expect(['10.0.0.1', '0.0.0.0', '128.0.0.1'].some(isLoopback)).toBe(false);
});
