import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { LeaseEvent } from './message-bus.ts';
import type { Broker } from './testing/brokers.ts';
import { Party } from './testing/party.ts';
import { until } from './testing/until.ts';

/** What leases do on every bus. */
export function leaseCases(broker: () => Broker): void {
  const start = (): Party => new Party(broker().target);

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
      // Before this the first member could join with its update already made.
      await b.flush();
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
