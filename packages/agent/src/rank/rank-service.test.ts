import { hostActor } from '@skein/actor';
import { type LocalHub, type MessageBus, startLocalHub } from '@skein/message-bus';
import { newIdentity, stepResultSchema, subjects } from '@skein/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JOINING } from '../testing/rank-status.ts';
import { planBytes } from '../testing/step-words.ts';
import { DirectLink } from './direct-link.ts';
import { type LoadSpec, RankActor } from './rank-actor.ts';
import { type RankServiceOptions, rankService } from './rank-service.ts';

const spec: LoadSpec = {
  model: 'm',
  stages: 2,
  stage: 0,
  tensor: { rank: 0, size: 1 },
  expertReplica: { index: 0, count: 1 },
  expertPlacements: [],
  layers: [0, 1],
  kvCacheDtype: 'auto',
  quantization: 'none',
  weightCache: null,
  limits: { maxTokens: 1, maxSeqs: 1, maxRows: 1, maxModelLen: 16, maxLogprobs: 0, numSlots: 2 },
  numBlocks: 1,
  blockSize: 16,
};
const direct = { host: '127.0.0.1', port: 9 };
let hub: LocalHub;
let leader: MessageBus;
let rank: ReturnType<typeof RankActor.handle>;
let events: string[];
let runner: { -readonly [K in keyof RankServiceOptions['runner']]: RankServiceOptions['runner'][K] };
let connect: () => Promise<MessageBus>;

beforeEach(async () => {
  hub = await startLocalHub({ listen: null, groupKey: null });
  leader = hub.connect(newIdentity('leader'));
  const main = hub.connect(newIdentity('rank'));
  events = [];
  runner = {
    load: async () => ({ fingerprint: 'f', weightBytes: 0, kvCacheBytes: 0, bufferBytes: 0, availableBytes: 0 }),
    openReceive: () => [],
    openSend: async () => {},
    begin: async () => void events.push('begin'),
    run: async () => {
      throw Object.assign(new Error('x'.repeat(5000)), { code: 'ERR_PEER_LOST' });
    },
    abort: (reason) => void events.push(reason),
    status: () => JOINING,
  };
  connect = async () => main;
  const link = new DirectLink(() => connect());
  hostActor(main, 'rank', RankActor, rankService({ main, link, group: 'g', runner }), {
    concurrent: ['status', 'abort'],
  });
  rank = RankActor.handle(leader, 'rank');
});

afterEach(() => hub.close());

test('a call of any epoch but the latest is refused with both, and abort only goes forward', async () => {
  await rank.abort.remote({ epoch: 7, reason: 'epoch 7 begins' });
  const calls = (epoch: number): PromiseLike<unknown>[] => [
    rank.load.remote({ epoch, spec }),
    rank.openReceive.remote({ epoch, channels: [] }),
    rank.openSend.remote({ epoch, channels: [] }),
    rank.begin.remote({ epoch, replica: 0, threads: null, direct }),
  ];
  const refused = (epoch: number): object => ({
    status: 'rejected',
    reason: { code: 'ERR_STALE_EPOCH', details: { epoch, current: 7 } },
  });
  for (const epoch of [6, 8])
    expect(await Promise.allSettled(calls(epoch))).toMatchObject(calls(epoch).map(() => refused(epoch)));
  for (const epoch of [6, 7])
    expect(await Promise.allSettled([rank.abort.remote({ epoch, reason: 'late' })])).toMatchObject([refused(epoch)]);
  await Promise.all(calls(7));
  expect(events).toEqual(['epoch 7 begins', 'begin']);
  expect(await rank.status.remote({})).toMatchObject({ epoch: 7 });
});

test('a load that an abort overtakes ends refused', async () => {
  const gate = Promise.withResolvers<{
    fingerprint: string;
    weightBytes: number;
    kvCacheBytes: number;
    bufferBytes: number;
    availableBytes: number;
  }>();
  runner.load = () => gate.promise;
  await rank.abort.remote({ epoch: 1, reason: 'one' });
  const load = rank.load.remote({ epoch: 1, spec });
  await rank.abort.remote({ epoch: 2, reason: 'two' });
  gate.resolve({ fingerprint: 'f', weightBytes: 0, kvCacheBytes: 0, bufferBytes: 0, availableBytes: 0 });
  await expect(load).rejects.toMatchObject({ code: 'ERR_STALE_EPOCH' });
});

test('a begin that hangs on the direct link is ended by the next abort, and its late connection is closed', async () => {
  const dialing = Promise.withResolvers<MessageBus>();
  let dialed = false;
  connect = () => {
    dialed = true;
    return dialing.promise;
  };
  await rank.abort.remote({ epoch: 1, reason: 'one' });
  const begin = rank.begin.remote({ epoch: 1, replica: 0, threads: null, direct });
  await expect.poll(() => dialed).toBe(true);
  await rank.abort.remote({ epoch: 2, reason: 'two' });
  await expect(begin).rejects.toMatchObject({ code: 'ERR_STALE_EPOCH' });
  const late = hub.connect(newIdentity('late'));
  dialing.resolve(late);
  await expect
    .poll(() =>
      late.flush().then(
        () => 'open',
        () => 'closed',
      ),
    )
    .toBe('closed');
  expect(events).toEqual(['one', 'two']);
});

test('a direct link that cannot be opened is named', async () => {
  connect = () => Promise.reject(new Error('connect ECONNREFUSED'));
  await rank.abort.remote({ epoch: 1, reason: 'one' });
  await expect(rank.begin.remote({ epoch: 1, replica: 0, threads: null, direct })).rejects.toMatchObject({
    code: 'ERR_DIRECT_LINK',
    message: "the leader's direct link at 127.0.0.1 port 9 cannot be opened: connect ECONNREFUSED",
  });
});

test('a step that fails is answered within what the wire takes; after an abort nothing is', async () => {
  const results: unknown[] = [];
  leader.subscribe(subjects.results('g', 0), ({ data }) => results.push(stepResultSchema.parse(data)));
  await rank.abort.remote({ epoch: 1, reason: 'one' });
  await rank.load.remote({ epoch: 1, spec });
  await rank.begin.remote({ epoch: 1, replica: 0, threads: null, direct });
  const plan = { epoch: 1, step: 0, deadlineMs: 100, input: planBytes(0) };
  leader.publish(subjects.plans('g', 0), plan);
  await expect
    .poll(() => results)
    .toMatchObject([{ stage: 0, output: null, error: { code: 'ERR_PEER_LOST', message: 'x'.repeat(4000) } }]);
  await rank.abort.remote({ epoch: 2, reason: 'two' });
  leader.publish(subjects.plans('g', 0), { ...plan, step: 1 });
  await rank.status.remote({});
  expect(results).toHaveLength(1);
});
