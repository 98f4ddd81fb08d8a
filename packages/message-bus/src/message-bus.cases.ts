import { setTimeout as sleep } from 'node:timers/promises';
import { newIdentity, SkeinError } from '@skein/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BusMessage, LeaseEvent } from './message-bus.ts';
import { type Broker, type BrokerKind, GROUP_KEY } from './testing/brokers.ts';
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

  describe('streams', () => {
    test('values in order, then the end; errors reach the reader', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      b.serveStream('skein.count', async function* count({ data }) {
        for (let value = 0; value < (data as number); value++) yield { value };
        if (data === 3) throw new SkeinError('ERR_BROKE', 'at three', { details: { at: 3 } });
      });
      await b.flush();
      const values: unknown[] = [];
      for await (const value of a.openStream('skein.count', 500, { idleMs: 3000, credit: 7 })) values.push(value);
      expect(values).toEqual(Array.from({ length: 500 }, (_, value) => ({ value })));
      const some: unknown[] = [];
      await expect(collect(a.openStream('skein.count', 3, { idleMs: 3000 }), some)).rejects.toMatchObject({
        code: 'ERR_BROKE',
        details: { at: 3 },
      });
      expect(some).toHaveLength(3);
      await expect(collect(a.openStream('skein.nowhere', 3, { idleMs: 3000 }))).rejects.toMatchObject({
        code: 'ERR_NO_RESPONDER',
      });
    });

    test('the producer is never more than the credit ahead, and leaving stops it', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      let produced = 0;
      const stopped = Promise.withResolvers<string>();
      b.serveStream('skein.endless', async function* endless(_, signal) {
        signal.addEventListener('abort', () => stopped.resolve((signal.reason as SkeinError).code));
        for (;;) yield produced++;
      });
      await b.flush();
      let taken = 0;
      for await (const value of a.openStream('skein.endless', null, { idleMs: 2000, credit: 5 })) {
        taken += 1;
        expect(value).toBe(taken - 1);
        if (taken % 10 === 0) await sleep(20);
        expect(produced).toBeLessThanOrEqual(taken + 5);
        if (taken === 100) break;
      }
      expect(await stopped.promise).toBe('ERR_ABORTED');
      const controller = new AbortController();
      const reading = collect(a.openStream('skein.endless', null, { idleMs: 2000, signal: controller.signal }));
      setTimeout(() => controller.abort(), 50);
      await expect(reading).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    });

    test('a lost value is a gap, also when it was the last', async () => {
      await using party = start();
      const a = await party.bus('a');
      const { bus: b, carrier } = await party.faultyBus('b');
      b.serveStream('skein.lossy', async function* lossy({ data }) {
        for (let value = 0; value < 5; value++) {
          carrier.drops = () => value === data;
          yield value;
          await sleep(1);
        }
        carrier.drops = () => false;
      });
      await b.flush();
      for (const lost of [2, 4]) {
        await expect(collect(a.openStream('skein.lossy', lost, { idleMs: 2000 }))).rejects.toMatchObject({
          code: 'ERR_GAP',
          details: { subject: 'skein.lossy', missing: 1 },
        });
      }
    });

    test('a producer that thinks is kept alive; one that stands still is noticed', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      b.serveStream('skein.thinks', async function* thinks() {
        await sleep(1200);
        yield 'thought';
      });
      await b.flush();
      const values: unknown[] = [];
      await collect(a.openStream('skein.thinks', null, { idleMs: 400 }), values);
      expect(values).toEqual(['thought']);
      const child = await party.member('counter', { serves: 'skein.frozen' });
      const reading = collect(a.openStream('skein.frozen', null, { idleMs: 500 }));
      setTimeout(() => child.kill('SIGSTOP'), 200);
      await expect(reading).rejects.toMatchObject({
        code: 'ERR_DEADLINE',
        details: { subject: 'skein.frozen', idleMs: 500 },
      });
    }, 20_000);

    test('a reader that is frozen stops its producer and nobody else', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const produced = new Map<string, number>();
      const ended: string[] = [];
      b.serveStream('skein.feed', async function* feed({ from }, signal) {
        signal.addEventListener('abort', () => ended.push(from.name));
        for (let value = 0; ; value++) {
          produced.set(from.name, value);
          yield new Uint8Array(10_000);
        }
      });
      await b.flush();
      const child = await party.member('reader', { reads: 'skein.feed' });
      await until('the reader reads', () => (produced.get('reader') ?? 0) > 50);
      child.kill('SIGSTOP');
      const before = process.memoryUsage.rss();
      let taken = 0;
      let atFreeze = 0;
      const reading = a.openStream('skein.feed', null, { idleMs: 2000, credit: 8 });
      for await (const _ of reading) {
        taken += 1;
        if (taken === 100) atFreeze = produced.get('reader') ?? 0;
        if (taken > 2000 && ended.includes('reader')) break;
      }
      expect((produced.get('reader') ?? 0) - atFreeze).toBeLessThanOrEqual(8);
      expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 1024 * 1024);
    }, 30_000);
  });

  describe('leases', () => {
    test('a new watcher gets all at once; updates and withdrawals are told', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const lease = a.announce('skein.l.rank.0', { load: 1 }, { ttlMs: 60_000 });
      a.announce('skein.l.ranking', 'not under the prefix', { ttlMs: 60_000 });
      // Announced before the watcher comes: it has to ask.
      await a.flush();
      const events: LeaseEvent[] = [];
      const watch = b.watch('skein.l.rank', (event) => events.push(event));
      await until('joined', () => events.length === 1);
      lease.update({ load: 2 });
      await until('updated', () => events.length === 2);
      expect([...watch.members.values()]).toEqual([{ key: 'skein.l.rank.0', from: a.identity, value: { load: 2 } }]);
      lease.close();
      await until('left', () => events.length === 3);
      expect(events.map((event) => (event.type === 'lost' ? event.reason : event.type))).toEqual([
        'joined',
        'updated',
        'left',
      ]);
      expect(watch.members.size).toBe(0);
      expect(() => lease.update(3)).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
      a.announce('skein.l.rank.1', 1, { ttlMs: 60_000 });
      await until('joined again', () => events.length === 4);
      await a.close();
      await until('left with its bus', () => events.length === 5);
    });

    test('a killed member expires within twice its ttl; a restarted one replaces its former self', async () => {
      await using party = start();
      const b = await party.bus('b');
      const events: LeaseEvent[] = [];
      b.watch('skein.k', (event) => events.push(event));
      const lease = { key: 'skein.k.0', ttlMs: 900 };
      const first = await party.member('rank-0', { lease });
      await until('joined', () => events.length === 1);
      await party.member('rank-0', { lease });
      await until('replaced', () => events.length === 3);
      expect(events[1]).toMatchObject({ type: 'lost', reason: 'replaced', member: { from: { name: 'rank-0' } } });
      expect(events[2]).toMatchObject({ type: 'joined' });
      // The former self still runs and beats; the younger one stays.
      await sleep(700);
      expect(events).toHaveLength(3);
      first.kill('SIGKILL');
      const third = await party.member('rank-1', { lease: { key: 'skein.k.1', ttlMs: 900 } });
      await until('joined', () => events.length === 4);
      third.kill('SIGKILL');
      const killedAt = performance.now();
      await until('expired', () => events.length === 5);
      expect(performance.now() - killedAt).toBeLessThan(1800);
      expect(events[4]).toMatchObject({ type: 'lost', reason: 'expired', member: { key: 'skein.k.1' } });
    }, 20_000);

    test('two hundred members come and go', async () => {
      await using party = start();
      const [a, b] = [await party.bus('a'), await party.bus('b')];
      const counts = { joined: 0, updated: 0, lost: 0 };
      const watch = b.watch('skein.churn', (event) => {
        counts[event.type] += 1;
      });
      for (let cycle = 0; cycle < 200; cycle++) {
        const lease = a.announce(`skein.churn.${cycle}`, { cycle }, { ttlMs: 1000 });
        await a.flush();
        if (cycle % 2 === 0) lease.update({ cycle, again: true });
        lease.close();
      }
      a.announce('skein.churn.stays', 1, { ttlMs: 1000 });
      await until('the one that stays', () => watch.members.size === 1 && counts.lost === 200);
      expect(counts).toEqual({ joined: 201, updated: 100, lost: 200 });
    });
  });
}

/** What a bus does while its broker comes, goes and stands still. */
export function brokerLossCases(kind: BrokerKind): void {
  test('a restarted broker finds subscriptions, servers and leases as they were', async () => {
    await using broker = await kind.start();
    await using party = new Party(broker.target);
    const { bus: a, carrier } = await party.faultyBus('a');
    const b = await party.bus('b');
    const seen: unknown[] = [];
    const gaps: number[] = [];
    const events: string[] = [];
    b.subscribe('skein.sub', ({ data }) => seen.push(data), { onGap: ({ missing }) => gaps.push(missing) });
    b.serve('skein.srv', async ({ data }) => {
      if (data === 'hang') await new Promise(() => {});
      return data;
    });
    b.watch('skein.w', (event) => events.push(`${event.type} ${event.member.key}`));
    const lease = a.announce('skein.w.a', 1, { ttlMs: 1500 });
    const slow = a.announce('skein.w.slow', 1, { ttlMs: 60_000 });
    const doomed = await party.member('doomed', { lease: { key: 'skein.w.doomed', ttlMs: 1500 } });
    await until('joined', () => events.length === 3);
    a.publish('skein.sub', 1);
    await until('the first', () => seen.length === 1);
    const changes: boolean[] = [];
    a.onConnectionChange((connected) => changes.push(connected));

    const hanging = a.request('skein.srv', 'hang', { deadlineMs: 60_000 });
    hanging.catch(() => {});
    await a.flush();
    await broker.kill();
    await expect(hanging).rejects.toMatchObject({ code: 'ERR_DISCONNECTED' });
    await until('both know', () => !a.connected && !b.connected);
    await expect(a.request('skein.srv', 2, DEADLINE)).rejects.toMatchObject({ code: 'ERR_DISCONNECTED' });
    a.publish('skein.sub', 'dropped');
    lease.update(2);
    slow.update(2);
    doomed.kill('SIGKILL');
    // Longer than the ttl: unreachable is not dead.
    await sleep(2000);
    expect(events).toHaveLength(3);
    events.length = 0;

    await broker.restart();
    await until('both are back', () => a.connected && b.connected);
    await until('the slow lease was told again', () => events.includes('updated skein.w.slow'));
    // A member may need longer than its ttl to come back: its heartbeats are lost for that time.
    const backAt = performance.now();
    carrier.drops = (subject) => subject === 'skein-lease.skein.w.a' && performance.now() - backAt < 2300;
    await Promise.all([a.flush(), b.flush()]);
    expect(await a.request('skein.srv', 3, DEADLINE)).toBe(3);
    a.publish('skein.sub', 4);
    await until('the last', () => seen.length === 2);
    expect(seen).toEqual([1, 4]);
    expect(gaps).toEqual([1]);
    expect(changes).toEqual([false, true]);
    await until('the dead one has expired', () => events.includes('lost skein.w.doomed'));
    await until('its heartbeats come again', () => performance.now() - backAt > 3000);
    expect(events.toSorted()).toEqual(['lost skein.w.doomed', 'updated skein.w.a', 'updated skein.w.slow']);
  }, 30_000);

  test('a broker that stands still is noticed within seconds, and nobody is declared dead', async () => {
    await using broker = await kind.start();
    await using party = new Party(broker.target);
    const [a, b] = [await party.bus('a'), await party.bus('b')];
    const events: string[] = [];
    b.watch('skein.w', (event) => events.push(event.type));
    a.announce('skein.w.a', 1, { ttlMs: 1000 });
    await until('joined', () => events.length === 1);
    broker.signal('SIGSTOP');
    try {
      await until('both know', () => !a.connected && !b.connected, 8000);
    } finally {
      broker.signal('SIGCONT');
    }
    await until('both are back', () => a.connected && b.connected);
    await sleep(1500);
    expect(events).toEqual(['joined']);
  }, 30_000);

  test('a client waits for a broker that is not there yet, and says so; another key is refused at once', async () => {
    await using broker = await kind.start();
    await using wrong = new Party({ ...broker.target, groupKey: `${GROUP_KEY}, another` });
    await using none = new Party({ ...broker.target, groupKey: null });
    const startedAt = performance.now();
    await expect(wrong.bus('a')).rejects.toMatchObject({ code: 'ERR_GROUP_KEY' });
    await expect(none.bus('a')).rejects.toMatchObject({ code: 'ERR_GROUP_KEY' });
    expect(performance.now() - startedAt).toBeLessThan(2000);

    await broker.kill();
    await using party = new Party(broker.target);
    await expect(party.bus('a', { deadlineMs: 300 })).rejects.toMatchObject({
      code: 'ERR_DEADLINE',
      details: { reason: expect.any(String) as string },
    });
    const reasons: string[] = [];
    const joining = party.bus('a', { onWaiting: (reason) => reasons.push(reason) });
    await until('it says why', () => reasons.length > 0);
    await broker.restart();
    expect((await joining).connected).toBe(true);
  }, 20_000);
}

async function collect(values: AsyncIterable<unknown>, into: unknown[] = []): Promise<unknown[]> {
  for await (const value of values) into.push(value);
  return into;
}
