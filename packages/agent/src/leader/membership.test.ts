import { type LocalHub, type MessageBus, startLocalHub } from '@skein/message-bus';
import { type Identity, newIdentity, type RankAdvert, subjects } from '@skein/protocol';
import { createLogger, silentLogger } from '@skein/telemetry';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AgentAdvert } from '../leases.ts';
import { Membership } from './membership.ts';

const TTL = { ttlMs: 3000 };
const GROUP = { group: 'g', ranksPerAgent: 1, firstRank: 0, layout: 'one way' };
let hub: LocalHub;
let leader: MessageBus;
let membership: Membership;

beforeEach(async () => {
  hub = await startLocalHub({ listen: null, groupKey: null });
  leader = hub.connect(newIdentity('g'));
  membership = new Membership(leader, { ...GROUP, groupSize: 2, numRanks: 2, logger: silentLogger });
});

afterEach(async () => {
  vi.useRealTimers();
  membership.close();
  await hub.close();
});

/** A rank process that announces itself under this number. */
function rank(rankIndex: number, ranksPerAgent = 1): { readonly identity: Identity; readonly bus: MessageBus } {
  const workerIndex = Math.floor(rankIndex / ranksPerAgent);
  const bus = hub.connect(newIdentity(`g-${workerIndex}/${rankIndex % ranksPerAgent}`));
  const advert: RankAdvert = {
    workerIndex,
    rankIndex,
    pid: 100 + rankIndex,
    hostId: 'h',
    host: 'h',
    revision: '1',
    instructionLevel: 'AVX2',
    device: 'cpu',
    threads: 1,
    memoryBytes: 2 ** 34,
    ucxUnavailable: null,
  };
  bus.announce(`${subjects.ranks('g')}.${rankIndex}.${bus.identity.incarnation}`, advert, TTL);
  return { identity: bus.identity, bus };
}

function agent(
  workerIndex: number,
  has: Identity | null,
  bus = hub.connect(newIdentity(`g-${workerIndex}`)),
  layout = GROUP.layout,
): { tell(...ranks: (Identity | null)[]): void; close(): void } {
  const advert = (ranks: AgentAdvert['ranks']): AgentAdvert => ({
    workerIndex,
    host: 'h',
    pid: 10 + workerIndex,
    layout,
    ranks,
  });
  const lease = bus.announce(`${subjects.agents('g')}.${workerIndex}`, advert([has]), TTL);
  return { tell: (...ranks) => lease.update(advert(ranks)), close: () => lease.close() };
}

/** Waits until the membership has seen so many ranks: a later watch on the same bus sees each after it. */
async function ranksSeen(count: number): Promise<void> {
  const watch = leader.watch(subjects.ranks('g'), () => {});
  await expect.poll(() => watch.members.size).toBe(count);
  watch.close();
}

test('is complete when every agent and the rank it names are there', async () => {
  const complete = membership.complete(AbortSignal.timeout(5000));
  const ranks = [rank(0), rank(1)];
  agent(0, ranks[0]?.identity ?? null, leader);
  const second = agent(1, null);
  await ranksSeen(2);
  await expect.poll(() => membership.agents()).toHaveLength(2);
  expect(membership.member(0)).not.toBeNull();
  expect(membership.member(1)).toBeNull();
  second.tell(ranks[1]?.identity ?? null);
  expect((await complete).map((m) => m.advert.pid)).toEqual([100, 101]);
});

test('a rank whose agent says that it has ended is lost at once, and so is one with a successor', async () => {
  const ranks = [rank(0), rank(1)];
  agent(0, ranks[0]?.identity ?? null, leader);
  const second = agent(1, ranks[1]?.identity ?? null);
  const signal = AbortSignal.timeout(5000);
  const lost = membership.lost(await membership.complete(signal), signal);
  second.tell(null);
  expect(await lost).toBe('worker 1 (rank g-1/0, pid 101) is gone');

  second.tell(ranks[1]?.identity ?? null);
  const lostAgain = membership.lost(await membership.complete(signal), signal);
  second.tell(rank(1).identity);
  expect(await lostAgain).toBe('worker 1 has a new rank process g-1/0');
});

test('a second rank process with the same number changes nothing while its agent does not name it', async () => {
  const ranks = [rank(0), rank(1)];
  agent(0, ranks[0]?.identity ?? null, leader);
  agent(1, ranks[1]?.identity ?? null);
  const signal = AbortSignal.timeout(5000);
  const members = await membership.complete(signal);
  rank(1);
  await ranksSeen(3);
  expect(membership.member(1)?.rank).toEqual(members[1]?.rank);
});

test('of two agents with one worker index the younger is the member', async () => {
  const ranks = [rank(1), rank(1)];
  agent(1, ranks[0]?.identity ?? null);
  await expect.poll(() => membership.member(1)?.rank).toEqual(ranks[0]?.identity);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1 });
  agent(1, ranks[1]?.identity ?? null);
  await expect.poll(() => membership.member(1)?.rank).toEqual(ranks[1]?.identity);
});

test('a leader stands back for a younger one of its group, and says so', async () => {
  vi.useFakeTimers({ toFake: ['setInterval'] });
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', format: 'json', sink: { write: (line: string) => lines.push(line) } });
  const own = new Membership(leader, { ...GROUP, groupSize: 1, numRanks: 1, logger });
  const rival = rank(0);
  agent(0, rival.identity);
  await expect.poll(() => own.agents()).toHaveLength(1);
  expect(own.member(0)).toBeNull();
  const stop = new AbortController();
  const complete = own.complete(stop.signal);
  vi.advanceTimersByTime(5000);
  expect(lines.join()).toContain('waiting for 1 ranks since');
  expect(lines.join()).toContain('worker 0 (another leader leads this group: pid 10 on h)');
  stop.abort();
  await expect(complete).rejects.toMatchObject({ name: 'AbortError' });
  own.close();
});

test('waits end with their signal and leave no listener on it', async () => {
  const stop = new AbortController();
  const add = vi.spyOn(stop.signal, 'addEventListener');
  const remove = vi.spyOn(stop.signal, 'removeEventListener');
  const complete = membership.complete(stop.signal);
  agent(1, null).tell(rank(1).identity);
  await expect.poll(() => add.mock.calls.length).toBeGreaterThan(1);
  stop.abort();
  await expect(complete).rejects.toMatchObject({ name: 'AbortError' });
  expect(remove.mock.calls.length).toBe(add.mock.calls.length);
});

test('an agent may have several ranks; those of one replica are its members', async () => {
  const second = new Membership(leader, {
    ...GROUP,
    groupSize: 2,
    ranksPerAgent: 2,
    firstRank: 2,
    numRanks: 2,
    logger: silentLogger,
  });
  const complete = second.complete(AbortSignal.timeout(5000));
  const ranks = [rank(2, 2), rank(3, 2)];
  agent(0, null, leader);
  const other = agent(1, null);
  other.tell(ranks[0]?.identity ?? null, null);
  await expect.poll(() => second.member(2)).not.toBeNull();
  expect(second.member(3)).toBeNull();
  other.tell(...ranks.map(({ identity }) => identity));
  const members = await complete;
  expect(members.map(({ advert }) => [advert.workerIndex, advert.rankIndex])).toEqual([
    [1, 2],
    [1, 3],
  ]);
  second.close();
});

test('an agent that was started for another layout is no member, and is named with both', async () => {
  vi.useFakeTimers({ toFake: ['setInterval'] });
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', format: 'json', sink: { write: (line: string) => lines.push(line) } });
  const own = new Membership(leader, { ...GROUP, groupSize: 1, numRanks: 1, logger });
  const first = rank(0);
  agent(0, first.identity, leader, 'another way');
  await expect.poll(() => own.agents()).toHaveLength(1);
  const stop = new AbortController();
  const complete = own.complete(stop.signal);
  vi.advanceTimersByTime(5000);
  expect(lines.join()).toContain(
    'missing worker 0 (it was started for another way, the leader for one way: give all the same parallel sizes and LWS_GROUP_SIZE; pid 10 on h)',
  );
  stop.abort();
  await expect(complete).rejects.toMatchObject({ name: 'AbortError' });
  own.close();
});
