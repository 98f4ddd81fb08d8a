import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { Worker } from 'node:worker_threads';

import { afterEach, describe, expect, test } from 'vitest';

import { loadNative } from './loader.ts';
import type { Transport } from './native.ts';

const addon = loadNative();
const LOADER = new URL('./loader.ts', import.meta.url).href;
const MESSAGES = 40;

/** Message `index` of a stream: empty, small and larger than the channel's capacity. */
const MESSAGE = `
  function message(index) {
    const data = new Uint8Array(index === 0 ? 0 : (index * 7919 * (index % 5 === 0 ? 40 : 1)) % 900001);
    for (let i = 0; i < data.length; i += 97) data[i] = index + i;
    return data;
  }`;
const PREAMBLE = `
  import { createInterface } from 'node:readline';
  const { loadNative } = await import(${JSON.stringify(LOADER)});
  const transport = loadNative().createTransport({ interfaceName: null, prefersIpv6: false });
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const read = async () => (await lines.next()).value;
  const kind = process.argv[1];
  ${MESSAGE}`;
const SENDER = `${PREAMBLE}
  const descriptor = new Uint8Array(Buffer.from(await read(), 'base64'));
  const channel = await transport.openSend({ name: 'test', transport: kind, descriptor, deadlineMs: 10000 });
  for (let i = 0; i < ${MESSAGES}; i++) await channel.testSend(i, message(i), 10000);
  console.log(JSON.stringify(channel.counters()));
  await read();
  channel.close();
  transport.close();
  process.stdin.destroy();`;
const RECEIVER = `${PREAMBLE}
  const channel = transport.openReceive({ name: 'test', transport: kind, capacityBytes: 1 << 18 });
  console.log(Buffer.from(channel.descriptor()).toString('base64'));
  for (let i = 0; i < ${MESSAGES}; i++) {
    const { step, data } = await channel.testReceive(10000);
    if (step !== i || Buffer.compare(data, message(i)) !== 0) throw new Error('message ' + i + ' differs');
  }
  console.log(JSON.stringify(channel.counters()));
  console.log(await channel.testReceive(10000).catch((error) => error.code));
  channel.close();
  transport.close();
  process.stdin.destroy();`;

/** A node process with an addon of its own that talks in lines. */
class Peer {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(script: string, transport: string) {
    this.#process = spawn(process.execPath, ['--input-type=module', '--eval', script, transport], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines: Interface = createInterface({ input: this.#process.stdout });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async read(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error('the peer ended');
    return value;
  }

  write(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  async exitCode(): Promise<number | null> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await once(this.#process, 'exit');
    return this.#process.exitCode;
  }
}

const opened: Transport[] = [];
function createTransport(): Transport {
  const transport = addon.createTransport({ interfaceName: null, prefersIpv6: false });
  opened.push(transport);
  return transport;
}
afterEach(() => {
  for (const transport of opened.splice(0)) transport.close();
});

const { ucxUnavailable } = addon.createTransport({ interfaceName: null, prefersIpv6: false });
if (ucxUnavailable !== null) process.stdout.write(`tcp tests are skipped: ${ucxUnavailable}\n`);

describe.each(['shm', 'tcp'] as const)('%s', (kind) => {
  const testKind = test.skipIf(kind === 'tcp' && ucxUnavailable !== null);

  testKind(
    'carries messages of any size between two processes',
    async () => {
      const receiver = new Peer(RECEIVER, kind);
      const sender = new Peer(SENDER, kind);
      sender.write(await receiver.read());
      const sent: unknown = JSON.parse(await sender.read());
      const received: unknown = JSON.parse(await receiver.read());
      expect(sent).toMatchObject({ transport: kind, messages: MESSAGES });
      expect(received).toEqual(sent);
      sender.write('close');
      expect(await receiver.read()).toBe('ERR_PEER_LOST');
      expect(await sender.exitCode()).toBe(0);
      expect(await receiver.exitCode()).toBe(0);
    },
    60_000,
  );

  testKind(
    'meets deadlines, reports failures, and closes while busy',
    async () => {
      const transport = createTransport();
      const open = async () => {
        const receive = transport.openReceive({ name: 'c', transport: kind, capacityBytes: 1 << 18 });
        expect(receive.descriptor().length).toBeLessThanOrEqual(4096);
        return {
          receive,
          send: await transport.openSend({
            name: 'c',
            transport: kind,
            descriptor: receive.descriptor(),
            deadlineMs: 5000,
          }),
        };
      };
      const first = await open();
      await expect(first.receive.testReceive(20)).rejects.toMatchObject({ code: 'ERR_STEP_DEADLINE' });
      await first.send.testSend(2 ** 40, new Uint8Array([1, 2]), 5000);
      expect(await first.receive.testReceive(5000)).toEqual({ step: 2 ** 40, data: new Uint8Array([1, 2]) });
      const blocked = first.receive.testReceive(60_000);
      first.receive.fail('rank 3 was killed');
      await expect(blocked).rejects.toMatchObject({ code: 'ERR_PEER_LOST', message: 'rank 3 was killed' });
      await expect(first.send.testSend(1, new Uint8Array(1 << 20), 5000)).rejects.toMatchObject({
        code: 'ERR_PEER_LOST',
      });

      const second = await open();
      const closed = second.receive.testReceive(60_000);
      second.receive.close();
      second.receive.close();
      await expect(closed).rejects.toMatchObject({ code: 'ERR_PEER_LOST' });
      await expect(second.receive.testReceive(10)).rejects.toMatchObject({ code: 'ERR_PEER_LOST' });
      expect(second.receive.counters()).toEqual({ transport: kind, bytes: 0, messages: 0 });

      const third = await open();
      const busy = third.receive.testReceive(60_000);
      transport.close();
      transport.close();
      await expect(busy).rejects.toMatchObject({ code: 'ERR_PEER_LOST' });
      expect(() => transport.openReceive({ name: 'late', transport: 'tcp', capacityBytes: 1 })).toThrowError(
        expect.objectContaining({ code: ucxUnavailable === null ? 'ERR_PEER_LOST' : 'ERR_UNAVAILABLE' }),
      );
    },
    30_000,
  );

  testKind(
    'lets an environment end in the middle of an operation',
    async () => {
      const source = `
      import('${LOADER}').then(({ loadNative }) => {
        const transport = loadNative().createTransport({ interfaceName: null, prefersIpv6: false });
        const channel = transport.openReceive({ name: 'w', transport: '${kind}', capacityBytes: 4096 });
        channel.testReceive(60000).catch(() => {});
        require('node:worker_threads').parentPort.postMessage('busy');
      });`;
      const worker = new Worker(source, { eval: true });
      await once(worker, 'message');
      const start = performance.now();
      await worker.terminate();
      expect(performance.now() - start).toBeLessThan(10_000);
    },
    30_000,
  );
});

test.skipIf(ucxUnavailable !== null)(
  'tcp reports a killed sender',
  async () => {
    const receive = createTransport().openReceive({ name: 'k', transport: 'tcp', capacityBytes: 1 << 18 });
    const sender = new Peer(SENDER, 'tcp');
    sender.write(Buffer.from(receive.descriptor()).toString('base64'));
    for (let i = 0; i < MESSAGES; i++) await receive.testReceive(10_000);
    await sender.read();
    sender.kill();
    const start = performance.now();
    await expect(receive.testReceive(30_000)).rejects.toMatchObject({ code: 'ERR_PEER_LOST' });
    expect(performance.now() - start).toBeLessThan(5000);
  },
  60_000,
);

test('names the argument that is wrong', async () => {
  const transport = createTransport();
  const invalid = (field: string): unknown =>
    expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringContaining(field) });
  const options = { name: 'a', transport: 'shm', capacityBytes: 4096 } as const;
  expect(() => addon.createTransport({ interfaceName: 5 as never, prefersIpv6: false })).toThrowError(
    invalid('options.interfaceName'),
  );
  expect(() => transport.openReceive({ ...options, name: '' })).toThrowError(invalid('options.name'));
  expect(() => transport.openReceive({ ...options, transport: 'udp' as never })).toThrowError(
    invalid('options.transport'),
  );
  expect(() => transport.openReceive({ ...options, capacityBytes: 0 })).toThrowError(invalid('options.capacityBytes'));
  expect(() => transport.openReceive(undefined as never)).toThrowError(invalid('options'));
  const receive = transport.openReceive(options);
  expect(() => receive.testReceive(-1)).toThrowError(invalid('deadlineMs'));
  expect(() => receive.fail(undefined as never)).toThrowError(invalid('reason'));
  const send = { name: 'a', transport: 'shm', descriptor: new Uint8Array(3), deadlineMs: 100 } as const;
  await expect(transport.openSend(send)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  await expect(transport.openSend({ ...send, transport: 'tcp' })).rejects.toMatchObject({
    code: ucxUnavailable === null ? 'ERR_INVALID_ARGUMENT' : 'ERR_UNAVAILABLE',
  });
  expect(() => transport.openSend({ ...send, descriptor: [] as never })).toThrowError(invalid('options.descriptor'));
  expect(() => transport.openSend({ ...send, deadlineMs: Number.NaN })).toThrowError(invalid('options.deadlineMs'));
});

test('says which interface is missing', () => {
  const { ucxUnavailable: why } = addon.createTransport({ interfaceName: 'nosuch0', prefersIpv6: false });
  expect(why).toMatch(ucxUnavailable === null ? /nosuch0/ : /libucp/);
});
