import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SkeinError } from '@skein/protocol';
import { describe, expect, test } from 'vitest';
import type { Broker } from './testing/brokers.ts';
import { Party } from './testing/party.ts';
import { until } from './testing/until.ts';

/** What streams do on every bus. */
export function streamCases(broker: () => Broker): void {
  const start = (): Party => new Party(broker().target);

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
      const before = retainedBytes();
      let taken = 0;
      let atFreeze = 0;
      const reading = a.openStream('skein.feed', null, { idleMs: 2000, credit: 8 });
      for await (const _ of reading) {
        taken += 1;
        if (taken === 100) atFreeze = produced.get('reader') ?? 0;
        if (taken > 2000 && ended.includes('reader')) break;
      }
      expect((produced.get('reader') ?? 0) - atFreeze).toBeLessThanOrEqual(8);
      expect(retainedBytes() - before).toBeLessThan(20 * 1024 * 1024);
    }, 30_000);
  });
}

async function collect(values: AsyncIterable<unknown>, into: unknown[] = []): Promise<unknown[]> {
  for await (const value of values) into.push(value);
  return into;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Of this process, without garbage that waits to be collected. */
function retainedBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
