import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newIdentity } from '@skein/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connectLocal } from './connect-local.ts';
import { controlFrame, FrameReader, frameTypes, subjectFrameHead } from './hub-frame.ts';
import { authSchema, decodeHandshake, encodeHandshake, helloSchema, newNonce, proof } from './hub-handshake.ts';
import { type LocalHub, startLocalHub } from './local-hub.ts';
import type { MessageBus } from './message-bus.ts';
import { until } from './testing/until.ts';

const groupKey = 'a key';
let hub: LocalHub;
let port: number;
let warnings: string[];

beforeEach(async () => {
  warnings = [];
  hub = await startLocalHub({
    listen: { host: '127.0.0.1', port: 0 },
    groupKey,
    queuedBytesMax: 1_000_000,
    onWarning: (warning) => warnings.push(warning.code),
  });
  port = hub.address && 'port' in hub.address ? hub.address.port : 0;
});
afterEach(async () => {
  await hub.close();
});

const joinHub = (name: string): Promise<MessageBus> =>
  connectLocal({ address: { host: '127.0.0.1', port }, identity: newIdentity(name), groupKey, deadlineMs: 2000 });

test('buses in the process and over the socket are one bus', async () => {
  await using inside = hub.connect(newIdentity('inside'));
  await using other = hub.connect(newIdentity('other'));
  await using outside = await joinHub('outside');
  outside.serve('skein.o', async ({ from }) => from.name);
  inside.serve('skein.i', async ({ from }) => from.name);
  inside.serveStream('skein.s', async function* three() {
    yield* [1, 2, 3];
  });
  await Promise.all([outside.flush(), inside.flush()]);
  expect(hub.clients).toEqual([outside.identity]);
  expect(await inside.request('skein.o', null, { deadlineMs: 1000 })).toBe('inside');
  expect(await outside.request('skein.i', null, { deadlineMs: 1000 })).toBe('outside');
  expect(await other.request('skein.i', null, { deadlineMs: 1000 })).toBe('other');
  await expect(other.request('skein.n', null, { deadlineMs: 1000 })).rejects.toMatchObject({
    code: 'ERR_NO_RESPONDER',
  });
  for (const bus of [other, outside]) {
    const values: unknown[] = [];
    for await (const value of bus.openStream('skein.s', null, { idleMs: 1000, credit: 1 })) values.push(value);
    expect(values).toEqual([1, 2, 3]);
  }
  await hub.close();
  expect(inside.connected).toBe(false);
  await expect(inside.request('skein.o', null, { deadlineMs: 1000 })).rejects.toMatchObject({
    code: 'ERR_DISCONNECTED',
  });
});

test('a subscriber never runs inside publish', async () => {
  await using inside = hub.connect(newIdentity('inside'));
  const seen: unknown[] = [];
  inside.subscribe('skein.x', ({ data }) => seen.push(data));
  inside.publish('skein.x', 1);
  expect(seen).toEqual([]);
  await inside.flush();
  expect(seen).toEqual([1]);
});

test('garbage at the socket harms nobody, before and after the handshake', async () => {
  await using a = await joinHub('a');
  await using b = await joinHub('b');
  a.serve('skein.still', async () => 'here');
  await a.flush();
  let seed = 1;
  const random = (max: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * max);
  };
  for (let round = 0; round < 300; round++) {
    const socket = round % 2 === 0 ? await dialRaw() : await dialProven(`fuzz-${round}`);
    const bytes = Buffer.from(Array.from({ length: random(200) }, () => random(256)));
    const frames = [
      bytes,
      controlFrame(random(14), bytes),
      subjectFrameHead(frameTypes.publish, [bytes.toString('latin1'), 'x'], 0),
      controlFrame(frameTypes.publish, bytes.subarray(0, 3)),
      subjectFrameHead(frameTypes.subscribe, ['skein..>', bytes.toString('latin1')], 0),
      Buffer.from([0xff, 0xff, 0xff, 0xff, 7]),
      Buffer.alloc(8),
    ];
    socket.end(frames[random(frames.length)] ?? bytes);
    if (round % 10 === 0) expect(await b.request('skein.still', null, { deadlineMs: 2000 })).toBe('here');
  }
  await until('all are gone', () => hub.clients.length === 2);
  expect(warnings).toEqual(['ERR_MALFORMED']);
  expect(a.connected && b.connected).toBe(true);
}, 20_000);

test('a client that does not read is cut off with a reason; others and memory are unharmed', async () => {
  await using a = await joinHub('a');
  await using b = await joinHub('b');
  const socket = await dialProven('slow');
  socket.pause();
  socket.write(subjectFrameHead(frameTypes.subscribe, ['skein-msg.skein.flood'], 0));
  let seen = 0;
  b.subscribe('skein.flood', () => {
    seen += 1;
  });
  await b.flush();
  await until('it is a client', () => hub.clients.length === 3);
  const payload = new Uint8Array(50_000);
  for (let sent = 1; sent <= 1000; sent++) {
    a.publish('skein.flood', payload);
    if (sent % 10 === 0) await until('the reader that reads has them', () => seen === sent);
  }
  expect(hub.clients.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(warnings).toEqual(['ERR_SLOW_READER']);
  socket.destroy();
}, 20_000);

test('both ends refuse another key, and the hub one who repeats what it heard', async () => {
  const address = { host: '127.0.0.1', port };
  for (const other of ['another key', null]) {
    const joining = connectLocal({ address, identity: newIdentity('a'), groupKey: other, deadlineMs: 5000 });
    await expect(joining).rejects.toMatchObject({ code: 'ERR_GROUP_KEY' });
  }
  await until('the hub knows', () => warnings.includes('ERR_GROUP_KEY'));
  // One that takes any proof and sends it back as its own.
  const impostor = createServer((socket) => {
    const reader = new FrameReader(10_000);
    socket.write(
      controlFrame(frameTypes.hello, encodeHandshake({ version: 1, nonce: newNonce(), frameBytesMax: 100_000 })),
    );
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk, (_, body) => {
        const auth = decodeHandshake(authSchema, body);
        if (auth) socket.write(controlFrame(frameTypes.welcome, encodeHandshake({ proof: auth.proof })));
      });
    });
  });
  await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve));
  const bound = impostor.address();
  const lured = connectLocal({
    address: { host: '127.0.0.1', port: typeof bound === 'object' && bound ? bound.port : 0 },
    identity: newIdentity('a'),
    groupKey,
    deadlineMs: 5000,
  });
  await expect(lured).rejects.toMatchObject({ code: 'ERR_GROUP_KEY', message: 'the hub cannot prove the group key' });
  impostor.close();
});

test('a socket file is private, a stale one is replaced, and a live one is not taken', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skein-hub-'));
  const path = join(directory, 'hub.sock');
  await using first = await startLocalHub({ listen: { path }, groupKey });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await expect(startLocalHub({ listen: { path }, groupKey })).rejects.toMatchObject({ code: 'ERR_ADDRESS' });
  await expect(startLocalHub({ listen: { host: '127.0.0.1', port }, groupKey })).rejects.toMatchObject({
    code: 'ERR_ADDRESS',
  });
  expect(first.address).toEqual({ path });
  await rm(directory, { recursive: true });
});

async function dialRaw(): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  return socket;
}

/** A client that has the key and then does as it likes. */
async function dialProven(name: string): Promise<Socket> {
  const socket = await dialRaw();
  const reader = new FrameReader(10_000);
  const identity = newIdentity(name);
  const { promise, resolve } = Promise.withResolvers<void>();
  const onData = (chunk: Buffer): void => {
    reader.push(chunk, (type, body) => {
      const hello = decodeHandshake(helloSchema, body);
      if (type === frameTypes.welcome) resolve();
      if (type !== frameTypes.hello || !hello) return;
      const nonce = newNonce();
      const auth = {
        identity,
        nonce,
        proof: proof(groupKey, 'client', { hubNonce: hello.nonce, clientNonce: nonce, identity }),
      };
      socket.write(controlFrame(frameTypes.auth, encodeHandshake(auth)));
    });
  };
  socket.on('data', onData);
  await promise;
  socket.off('data', onData);
  return socket;
}
