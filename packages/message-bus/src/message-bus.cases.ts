import { setTimeout as sleep } from 'node:timers/promises';
import { newIdentity, SkeinError } from '@skein/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { leaseCases } from './lease.cases.ts';
import type { BusMessage } from './message-bus.ts';
import { streamCases } from './stream.cases.ts';
import type { Broker, BrokerKind } from './testing/brokers.ts';
import { Party } from './testing/party.ts';
import { openCarrier } from './testing/target.ts';
import { until } from './testing/until.ts';

const DEADLINE = { deadlineMs: 5000 };

/** What every bus does, whatever carries it. */
export function messageBusCases(kind: BrokerKind): void {
  let broker: Broker;
  beforeAll(async () => {
    broker = await kind.start();
  });
  afterAll(async () => {
    await broker[Symbol.asyncDispose]();
  });
  const start = (): Party => new Party(broker.target);

  describe('messages', () => {
    test('arrive whole, at the sender too, with who sent them', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const seen: [string, BusMessage][] = [];
      a.subscribe('skein.t', (message) => seen.push(['a', message]));
      b.subscribe('skein.>', (message) => seen.push(['b', message]));
      await Promise.all([a.flush(), b.flush()]);
      const data = {
        text: 'čau 🪿',
        numbers: [0, -1, 1.5, 2 ** 53 - 1, -(2 ** 40)],
        bytes: new Uint8Array([1, 2, 3]),
        nothing: null,
        ['__proto__x']: { deep: [[true]] },
      };
      a.publish('skein.t', { ...data, leftOut: undefined });
      await until('both have it', () => seen.length === 2);
      expect(seen.map(([who]) => who).toSorted()).toEqual(['a', 'b']);
      for (const [, message] of seen) {
        expect(message).toEqual({ subject: 'skein.t', from: a.identity, data });
        const { bytes } = message.data as { bytes: Uint8Array };
        expect(bytes.constructor).toBe(Uint8Array);
        expect(bytes.byteOffset).toBe(0);
      }
    });

    test('what is no plain data is refused where it is, at the sender', async () => {
      await using party = start();
      const a = await party.bus('a');
      const cyclic: Record<string, unknown> = {};
      cyclic['self'] = cyclic;
      for (const bad of [
        () => 1,
        new Map(),
        new Date(),
        1n,
        new Int32Array(1),
        new (class Thing {})(),
        Symbol('x'),
        cyclic,
      ]) {
        expect(() => a.publish('skein.t', { list: [bad] })).toThrow(
          expect.objectContaining({
            code: 'ERR_NOT_ENCODABLE',
            message: expect.stringContaining('message.list[0]') as string,
          }),
        );
      }
      expect(() => a.publish('skein.*', 1)).toThrow(expect.objectContaining({ code: 'ERR_SUBJECT' }));
      expect(() => a.publish('skein..x', 1)).toThrow(expect.objectContaining({ code: 'ERR_SUBJECT' }));
    });

    test('ten thousand of each of two senders arrive in order', async () => {
      await using party = start();
      const [a, b, c] = [await party.bus('a'), await party.bus('b'), await party.bus('c')];
      const seen = new Map<string, number[]>([
        ['a', []],
        ['b', []],
      ]);
      c.subscribe('skein.many', ({ from, data }) => seen.get(from.name)?.push(data as number), {
        onGap: () => expect.unreachable(),
      });
      await c.flush();
      for (let index = 0; index < 10_000; index++) {
        a.publish('skein.many', index);
        b.publish('skein.many', index);
        if (index % 100 === 0) await a.flush();
      }
      await until('all are there', () => [...seen.values()].every((list) => list.length === 10_000), 20_000);
      for (const list of seen.values()) expect(list.every((value, index) => value === index)).toBe(true);
      expect(c.counters.messagesMissing).toBe(0);
    });

    test('a gap is told once, with how many are missing, and only of that sender', async () => {
      await using party = start();
      const { bus: a, carrier } = await party.faultyBus('a');
      const [b, c] = [await party.bus('b'), await party.bus('c')];
      const events: unknown[] = [];
      c.subscribe('skein.gap', ({ from, data }) => events.push([from.name, data]), {
        onGap: ({ from, missing }) => events.push([from.name, 'missing', missing]),
      });
      await c.flush();
      a.publish('skein.gap', 1);
      b.publish('skein.gap', 1);
      await until('the first two', () => events.length === 2);
      carrier.drops = (subject) => subject.endsWith('.gap');
      a.publish('skein.gap', 2);
      a.publish('skein.gap', 3);
      carrier.drops = () => false;
      a.publish('skein.gap', 4);
      await until('the gap', () => events.length === 4);
      b.publish('skein.gap', 2);
      await until('the last', () => events.length === 5);
      expect(events.slice(2)).toEqual([
        ['a', 'missing', 2],
        ['a', 4],
        ['b', 2],
      ]);
      // A later subscriber starts where it comes in.
      c.subscribe('skein.gap', () => events.push('late'), { onGap: () => expect.unreachable() });
      await c.flush();
      a.publish('skein.gap', 5);
      await until('the late one', () => events.includes('late'));
    });

    test('sizes: one less than the limit, the limit, one more, and far more', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const max = a.maxPayloadBytes;
      expect(max).toBeGreaterThan(8_000_000);
      b.serve('skein.size', async ({ data }) => (data as Uint8Array).byteLength);
      await b.flush();
      // A binary takes five bytes more than it holds.
      for (const bytes of [max - 6, max - 5]) {
        expect(await a.request('skein.size', new Uint8Array(bytes), DEADLINE)).toBe(bytes);
      }
      for (const bytes of [max - 4, 64 * 1024 * 1024]) {
        await expect(a.request('skein.size', new Uint8Array(bytes), DEADLINE)).rejects.toMatchObject({
          code: 'ERR_MESSAGE_TOO_LARGE',
          details: { bytes: bytes + 5, maxPayloadBytes: max },
        });
      }
      expect(a.connected).toBe(true);
    }, 30_000);

    test('garbage on a subject is counted, warned of once and dropped', async () => {
      await using party = start();
      const warnings: string[] = [];
      const b = await party.bus('b', { onWarning: (warning) => warnings.push(warning.code) });
      const seen: unknown[] = [];
      b.subscribe('skein.garbage', ({ data }) => seen.push(data));
      await b.flush();
      const carrier = await openCarrier(broker.target, newIdentity('raw'));
      for (let index = 0; index < 200; index++) {
        carrier.publish(
          'skein-msg.skein.garbage',
          Uint8Array.from({ length: index % 40 }, (_, at) => (index * 31 + at * 17) % 256),
        );
      }
      // A record definition, which the codec would compile, and a deep nesting.
      carrier.publish('skein-msg.skein.garbage', Uint8Array.from([0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01]));
      carrier.publish('skein-msg.skein.garbage', new Uint8Array(100_000).fill(0x91));
      await carrier.flush();
      await carrier.close();
      b.publish('skein.garbage', 'still here');
      await until('the good one', () => seen.length === 1);
      expect(b.counters.framesMalformed).toBe(202);
      expect(warnings).toEqual(['ERR_MALFORMED']);
    });

    test('a listener that throws harms nobody', async () => {
      await using party = start();
      const warnings: string[] = [];
      const b = await party.bus('b', { onWarning: (warning) => warnings.push(warning.message) });
      const seen: unknown[] = [];
      b.subscribe('skein.throws', () => {
        throw new Error('listener bug');
      });
      b.subscribe('skein.throws', ({ data }) => seen.push(data));
      await b.flush();
      b.publish('skein.throws', 1);
      b.publish('skein.throws', 2);
      await until('both', () => seen.length === 2);
      expect(b.counters.handlersFailed).toBe(2);
      expect(warnings).toEqual([expect.stringContaining('listener bug')]);
    });
  });

  describe('requests', () => {
    test('answers, and errors with code, message and details but no stack', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      b.serve('skein.rpc', async ({ data, from }) => {
        if (data === 'typed') throw new SkeinError('ERR_FULL', 'needs 12, 3 free', { details: { needs: 12, free: 3 } });
        if (data === 'plain') throw new TypeError('oops');
        if (data === 'huge') return new Uint8Array(b.maxPayloadBytes);
        if (data === 'bad') return new Map();
        return { data, from };
      });
      await b.flush();
      expect(await a.request('skein.rpc', 'x', DEADLINE)).toEqual({ data: 'x', from: a.identity });
      const typed: unknown = await a.request('skein.rpc', 'typed', DEADLINE).catch((error: unknown) => error);
      expect(typed).toMatchObject({
        name: 'RemoteError',
        code: 'ERR_FULL',
        message: 'needs 12, 3 free',
        details: { needs: 12, free: 3 },
        from: b.identity,
      });
      await expect(a.request('skein.rpc', 'plain', DEADLINE)).rejects.toMatchObject({
        code: 'ERR_INTERNAL',
        message: 'oops',
        details: {},
      });
      await expect(a.request('skein.rpc', 'huge', DEADLINE)).rejects.toMatchObject({ code: 'ERR_MESSAGE_TOO_LARGE' });
      await expect(a.request('skein.rpc', 'bad', DEADLINE)).rejects.toMatchObject({ code: 'ERR_NOT_ENCODABLE' });
    });

    test('nobody there is known at once, also after the server has left', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      b.subscribe('skein.nobody', () => {});
      const startedAt = performance.now();
      await expect(a.request('skein.nobody', 1, DEADLINE)).rejects.toMatchObject({
        code: 'ERR_NO_RESPONDER',
        message: expect.stringContaining('skein.nobody') as string,
      });
      expect(performance.now() - startedAt).toBeLessThan(1000);
      const served = b.serve('skein.nobody', async () => 1);
      await b.flush();
      expect(await a.request('skein.nobody', 1, DEADLINE)).toBe(1);
      served.close();
      await b.flush();
      await expect(a.request('skein.nobody', 1, DEADLINE)).rejects.toMatchObject({ code: 'ERR_NO_RESPONDER' });
    });

    test('a deadline names subject and time, and reaches the handler; so does an abort', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const ended: unknown[] = [];
      b.serve('skein.slow', async (_, signal) => {
        await sleep(60_000, undefined, { signal }).catch(() => ended.push((signal.reason as SkeinError).code));
      });
      await b.flush();
      await expect(a.request('skein.slow', 1, { deadlineMs: 80 })).rejects.toMatchObject({
        code: 'ERR_DEADLINE',
        details: { subject: 'skein.slow', deadlineMs: 80 },
      });
      await until('the handler was told', () => ended.length === 1);
      const controller = new AbortController();
      const request = a.request('skein.slow', 1, { deadlineMs: 5000, signal: controller.signal });
      setTimeout(() => controller.abort(new Error('changed my mind')), 50);
      await expect(request).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: { message: 'changed my mind' } });
      await until('the handler was told again', () => ended.length === 2);
      expect(ended[1]).toBe('ERR_ABORTED');
      await expect(a.request('skein.slow', 1, { ...DEADLINE, signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: 'ERR_ABORTED',
      });
    });

    test('a thousand at once each get their own answer', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      b.serve('skein.double', async ({ data }) => {
        await sleep((data as number) % 7);
        return (data as number) * 2;
      });
      await b.flush();
      const answers = await Promise.all(
        Array.from({ length: 1000 }, (_, index) => a.request('skein.double', index, DEADLINE)),
      );
      expect(answers).toEqual(Array.from({ length: 1000 }, (_, index) => index * 2));
    });

    test('closing a bus ends what it had open, and what it was serving', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const told = Promise.withResolvers<void>();
      b.serve('skein.hang', async (_, signal) => {
        signal.addEventListener('abort', () => told.resolve());
        await new Promise(() => {});
      });
      await b.flush();
      const request = a.request('skein.hang', 1, DEADLINE);
      request.catch(() => {});
      await a.flush();
      await a.close();
      await expect(request).rejects.toMatchObject({ code: 'ERR_CLOSED' });
      expect(() => a.publish('skein.hang', 1)).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
      await b.close();
      await told.promise;
    });
  });

  streamCases(() => broker);
  leaseCases(() => broker);
}
