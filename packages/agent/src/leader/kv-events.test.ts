import type { Engine, KVCacheEvent } from '@skein/engine';
import { startLocalHub } from '@skein/message-bus';
import { type KVEventBatchMessage, kvEventBatchSchema, newIdentity, subjects } from '@skein/protocol';
import { silentLogger } from '@skein/telemetry';
import { Unpackr } from 'msgpackr';
import { Request, Subscriber } from 'zeromq';
import { describe, expect, test } from 'vitest';
import { KVEventFeed } from './kv-event-feed.ts';
import { kvEventMessages } from './kv-event-messages.ts';
import { serveKVEvents } from './kv-events.ts';
import { parseKVEventsConfig } from './kv-events-config.ts';
import { ZmqKVEvents } from './zmq-kv-events.ts';

const stored = (hash: bigint, parent: bigint | null, client = 'anonymous'): KVCacheEvent => ({
  type: 'BlockStored',
  blockHashes: [hash],
  parentBlockHash: parent,
  tokenIds: [Number(hash % 100n), 70_000],
  blockSize: 2,
  owner: { client, cacheSalt: null },
});

describe('the feed', () => {
  test('drops what nobody listens to, and numbers what somebody does', async () => {
    const feed = new KVEventFeed(() => [stored(1n, null)]);
    feed.push([stored(1n, null)]);
    const stop = new AbortController();
    const listening = feed.listen(stop.signal, { snapshot: true });
    expect((await listening.next()).value).toMatchObject({
      sequence: 0,
      events: [{ type: 'AllBlocksCleared' }, { blockHashes: [1n] }],
    });
    feed.push([stored(2n, 1n)]);
    feed.push([stored(3n, 2n)]);
    expect((await listening.next()).value).toMatchObject({
      sequence: 1,
      events: [{ blockHashes: [2n] }, { blockHashes: [3n] }],
    });
    feed.push([{ type: 'BlockRemoved', blockHashes: [3n] }]);
    expect((await listening.next()).value).toMatchObject({ sequence: 2 });
    stop.abort();
    expect((await listening.next()).done).toBe(true);
  });

  test('cuts off a listener that falls behind, and no other', async () => {
    const feed = new KVEventFeed(() => []);
    const never = new AbortController().signal;
    const [slow, quick] = [feed.listen(never, { snapshot: false }), feed.listen(never, { snapshot: false })];
    const removed: KVCacheEvent = { type: 'BlockRemoved', blockHashes: Array.from({ length: 60_000 }, () => 1n) };
    let reading = quick.next();
    const first = slow.next();
    for (let i = 1; i <= 5; i++) {
      feed.push([removed]);
      expect((await reading).value).toMatchObject({ sequence: i });
      reading = quick.next();
    }
    await first;
    for (let i = 2; i <= 4; i++) expect((await slow.next()).value).toMatchObject({ sequence: i });
    await expect(slow.next()).rejects.toMatchObject({ code: 'ERR_KV_EVENTS' });
    feed.close();
  });
});

test('a message holds no more than a bus takes, and says the same', () => {
  const blockHashes = Array.from({ length: 10_000 }, (_, i) => BigInt(i) << 40n);
  const tokenIds = Array.from({ length: 160_000 }, (_, i) => i);
  const owner = { client: 'key-1', cacheSalt: 's' };
  const event: KVCacheEvent = {
    type: 'BlockStored',
    blockHashes,
    parentBlockHash: null,
    tokenIds,
    blockSize: 16,
    owner,
  };
  const messages = [...kvEventMessages({ sequence: 3, ts: 1, events: [event] })];
  expect(messages.map((m) => m.sequence)).toEqual([3, 3, 3]);
  const parts = messages.flatMap((m) => kvEventBatchSchema.parse(m).events);
  const bytes = (name: 'block_hashes' | 'token_ids'): Buffer =>
    Buffer.concat(parts.map((p) => (p.type === 'BlockStored' ? p[name] : new Uint8Array())));
  expect(bytes('token_ids').readInt32LE(4 * 150_000)).toBe(150_000);
  expect(bytes('block_hashes').readBigUInt64BE(8 * 9000)).toBe(9000n << 40n);
  expect(parts.map((p) => (p.type === 'BlockStored' ? p.extra_keys : null))).toEqual([['key-1', 's'], null, null]);
  const parent = parts[1]?.type === 'BlockStored' ? parts[1].parent_block_hash : null;
  expect(parent && Buffer.from(parent).readBigUInt64BE()).toBe(4095n << 40n);
});

test('a listener on the bus is told what is cached, then what changes', async () => {
  await using stack = new AsyncDisposableStack();
  const hub = await startLocalHub({ listen: null, groupKey: null });
  stack.defer(() => hub.close());
  const engine = { cachedBlocks: () => [stored(1n, null, 'key-1')] } as unknown as Engine;
  const events = await serveKVEvents({
    engine,
    bus: hub.connect(newIdentity('leader')),
    group: 'g',
    replica: 0,
    numReplicas: 1,
    zmq: null,
    logger: silentLogger,
  });
  stack.use(events);
  const router = hub.connect(newIdentity('router'));
  const stream = router.openStream(subjects.kvEvents('g', 0), null, { idleMs: 5000 })[Symbol.asyncIterator]();
  const next = async (): Promise<KVEventBatchMessage> => kvEventBatchSchema.parse((await stream.next()).value);
  expect((await next()).events).toMatchObject([{ type: 'AllBlocksCleared' }, { extra_keys: ['key-1'], block_size: 2 }]);
  events.push([stored(2n, 1n)]);
  const batch = await next();
  const parent = Buffer.alloc(8);
  parent.writeBigUInt64BE(1n);
  expect(batch).toMatchObject({ sequence: 1, events: [{ parent_block_hash: new Uint8Array(parent) }] });
  await stream.return?.();
});

describe('ZMQ', () => {
  const config = {
    endpoint: 'tcp://127.0.0.1:*',
    replayEndpoint: 'tcp://127.0.0.1:*',
    bufferSteps: 2,
    hwm: 10,
    topic: 'kv@a@m',
  };

  test('publishes in the form of vLLM and replays what it kept', async () => {
    await using zmq = await ZmqKVEvents.bind(config);
    const listener = new Subscriber({ receiveTimeout: 10_000 });
    listener.subscribe('kv@');
    const joined = new Promise((resolve) => listener.events.on('handshake', resolve));
    listener.connect(zmq.endpoint ?? '');
    await joined;
    const feed = new KVEventFeed(() => []);
    const stop = new AbortController();
    const running = zmq.run(feed.listen(stop.signal, { snapshot: false }));
    const unpackr = new Unpackr({ useRecords: false, int64AsType: 'bigint' });
    // A subscription takes a moment to reach the publisher.
    const beat = setInterval(() => feed.push([{ type: 'AllBlocksCleared' }]), 10);
    await listener.receive();
    clearInterval(beat);
    const big = 0xfedc_ba98_7654_3210n;
    feed.push([stored(big, null, 'key-1')]);
    let first = await listener.receive();
    while ((first[2]?.length ?? 0) < 60) first = await listener.receive();
    feed.push([{ type: 'BlockRemoved', blockHashes: [big] }]);
    const received = [first, await listener.receive()];
    feed.push([stored(5n, big)]);
    received.push(await listener.receive());
    const sequences = received.map(([, sequence]) => sequence?.readBigInt64BE() ?? -1n);
    const [start = 0n] = sequences;
    expect([received[0]?.[0]?.toString(), sequences]).toEqual(['kv@a@m', [start, start + 1n, start + 2n]]);
    const [ts, events, rank] = unpackr.unpack(received[0]?.[2] ?? Buffer.alloc(0)) as [number, unknown[], unknown];
    expect([typeof ts, rank, events.slice(-1)]).toEqual([
      'number',
      null,
      [
        {
          type: 'BlockStored',
          block_hashes: [big],
          parent_block_hash: null,
          token_ids: [Number(big % 100n), 70_000],
          block_size: 2,
          lora_id: null,
          medium: 'GPU',
          lora_name: null,
          extra_keys: [['key-1']],
          group_idx: null,
        },
      ],
    ]);

    const asking = new Request({ receiveTimeout: 10_000 });
    asking.connect(zmq.replayEndpoint ?? '');
    await asking.send(Buffer.alloc(8));
    const [sequence, payload] = await asking.receive();
    // Two are kept: the first one is gone.
    expect([sequence?.readBigInt64BE(), payload]).toEqual([start + 1n, received[1]?.[2]]);
    stop.abort();
    await running;
    listener.close();
    asking.close();
    feed.close();
  });

  test('says which endpoint cannot be bound', async () => {
    const taken = ZmqKVEvents.bind({ ...config, endpoint: 'tcp://203.0.113.1:5557' });
    await expect(taken).rejects.toMatchObject({ code: 'ERR_KV_EVENTS_CONFIG', message: /203\.0\.113\.1/ });
  });
});

test('the configuration is that of vLLM', () => {
  expect(parseKVEventsConfig('{"enable_kv_cache_events": true, "publisher": "zmq", "topic": "kv@p@m"}')).toEqual({
    endpoint: 'tcp://*:5557',
    replayEndpoint: null,
    bufferSteps: 10_000,
    hwm: 100_000,
    topic: 'kv@p@m',
  });
  expect(parseKVEventsConfig('{"publisher": null}')).toBeNull();
  expect(() => parseKVEventsConfig('{"hwm": 0}')).toThrow(/--kv-events-config is .*hwm/);
  expect(() => parseKVEventsConfig('{"endpont": "x"}')).toThrow(/endpont/);
  expect(() => parseKVEventsConfig('tcp://*:1')).toThrow(/JSON object/);
});
