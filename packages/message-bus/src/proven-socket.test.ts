import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Identity, newIdentity } from '@skein/protocol';
import { afterEach, expect, test } from 'vitest';
import { startLocalHub } from './local-hub.ts';
import { acceptProof, offerProof } from './proven-socket.ts';

const identity = newIdentity('dialler');
const ends: { destroy(): void }[] = [];
let server: Server | null = null;

afterEach(() => {
  for (const end of ends.splice(0)) end.destroy();
  server?.close();
  server = null;
});

/** Both ends of a TCP connection. */
async function pair(): Promise<readonly [accepted: Socket, dialled: Socket]> {
  const listening = createServer({ pauseOnConnect: true });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const { promise, resolve } = Promise.withResolvers<Socket>();
  listening.once('connection', resolve);
  const address = listening.address();
  const dialled = connect({ host: '127.0.0.1', port: typeof address === 'object' && address ? address.port : 0 });
  const accepted = await promise;
  for (const socket of [accepted, dialled]) ends.push(socket.on('error', () => {}));
  return [accepted, dialled];
}

const options = (groupKey: string | null, purpose = 'test'): Parameters<typeof acceptProof>[1] => ({
  groupKey,
  purpose,
  signal: AbortSignal.timeout(5000),
});

test.each(['a key', null])('ends that share a key (%s) prove it, and the socket carries what follows', async (key) => {
  const [accepted, dialled] = await pair();
  const offered = offerProof(dialled, { ...options(key), identity });
  const who: Identity = await acceptProof(accepted, options(key));
  await offered;
  expect(who).toEqual(identity);
  dialled.write('what follows');
  const data = new Promise((resolve) => accepted.once('data', resolve));
  accepted.resume();
  expect(String(await data)).toBe('what follows');
});

test.each([
  ['another key', options('another key')],
  ['no key', options(null)],
  ['another purpose', options('a key', 'other')],
])('a dialler with %s is refused', async (_, offer) => {
  const [accepted, dialled] = await pair();
  const offered = offerProof(dialled, { ...offer, identity });
  await expect(acceptProof(accepted, options('a key'))).rejects.toMatchObject({ code: 'ERR_GROUP_KEY' });
  accepted.destroy();
  await expect(offered).rejects.toMatchObject({ code: 'ERR_DISCONNECTED' });
});

test('what a listener proves to a hub is of no use elsewhere, and bytes that are no handshake are refused', async () => {
  await using hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey: 'a key' });
  const port = hub.address && 'port' in hub.address ? hub.address.port : 0;
  const toHub = connect({ host: '127.0.0.1', port }).on('error', () => {});
  ends.push(toHub);
  await expect(offerProof(toHub, { ...options('a key'), identity })).rejects.toThrow();
  const [accepted, dialled] = await pair();
  dialled.write('GET / HTTP/1.1\r\n\r\n');
  await expect(acceptProof(accepted, options('a key'))).rejects.toMatchObject({ code: 'ERR_MALFORMED' });
});

test('an end that says nothing is waited for until the deadline', async () => {
  const [accepted] = await pair();
  await expect(acceptProof(accepted, { ...options('a key'), signal: AbortSignal.timeout(30) })).rejects.toMatchObject({
    name: 'TimeoutError',
  });
});
