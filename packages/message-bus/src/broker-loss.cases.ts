import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type BrokerKind, GROUP_KEY } from './testing/brokers.ts';
import { Party } from './testing/party.ts';
import { until } from './testing/until.ts';

const DEADLINE = { deadlineMs: 5000 };

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
    const givenUp = new AbortController();
    const reason = new Error('given up');
    const leaving = party.bus('b', { signal: givenUp.signal, onWaiting: () => givenUp.abort(reason) });
    await expect(leaving).rejects.toBe(reason);
    await broker.restart();
    expect((await joining).connected).toBe(true);
  }, 20_000);
}
