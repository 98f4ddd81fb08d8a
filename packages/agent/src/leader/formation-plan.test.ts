import { newIdentity, type RankAdvert } from '@skein/protocol';
import { expect, test } from 'vitest';
import { loadSchema } from '../rank/rank-actor.ts';
import { formationInput } from '../testing/llama-config.ts';
import { type FormationInput, type FormationPlan, planFormation } from './formation-plan.ts';
import type { Member } from './membership.ts';

function members(...changes: Partial<RankAdvert>[]): Member[] {
  return changes.map((change, workerIndex) => {
    const rank = newIdentity(`g-${workerIndex}/0`);
    const advert: RankAdvert = {
      workerIndex,
      rankIndex: workerIndex,
      pid: 1,
      hostId: 'a',
      host: 'a',
      revision: '1.0',
      instructionLevel: 'AVX2',
      device: 'cpu',
      threads: 1,
      memoryBytes: 2 ** 34,
      ucxUnavailable: null,
      ...change,
    };
    return {
      agent: newIdentity(`g-${workerIndex}`),
      agentAdvert: { workerIndex, host: 'a', pid: 1, layout: '', ranks: [rank] },
      rank,
      advert,
    };
  });
}

/** A pipeline of as many stages as members, where `change` says nothing else. */
function plan(of: readonly Member[], change: Partial<FormationInput> = {}): FormationPlan {
  return planFormation(of, {
    ...formationInput,
    shape: { replicas: 1, stages: of.length, tensorSize: 1, sharesExperts: false },
    ...change,
  });
}

test('members of different revisions are refused with both', () => {
  expect(() => plan(members({}, { revision: '1.1' }))).toThrow(
    'worker 1 runs revision 1.1, worker 0 runs 1.0; start all from one image',
  );
});

test('stages take the layers between them, and the channels form a ring', () => {
  const { layers, channels, loads } = plan(members({}, {}, {}));
  expect(layers).toEqual([
    [0, 2],
    [2, 4],
    [4, 5],
  ]);
  expect(channels.map(({ from, to, name }) => [from, to, name])).toEqual([
    [0, 1, 'rank-0-to-rank-1-stage'],
    [1, 2, 'rank-1-to-rank-2-stage'],
    [2, 0, 'rank-2-to-rank-0-stage'],
  ]);
  expect(loads.map(({ stage, stages, layers: own }) => ({ stage, stages, own }))).toEqual(
    layers.map((own, stage) => ({ stage, stages: 3, own })),
  );
});

test('ranks that wait for each other on one host each have their own of its compute threads', () => {
  const here = { hostId: 'here' };
  const { threads } = plan(members({ ...here, threads: 2 }, { hostId: 'there', threads: 4 }, { ...here, threads: 3 }));
  expect(threads).toEqual([{ first: 0, total: 5 }, null, { first: 2, total: 5 }]);
});

test('ranks that share a stage talk with each other, and with the one in their place of the next stage', () => {
  const shape = { replicas: 2, stages: 2, tensorSize: 2, sharesExperts: false };
  const second = members({ rankIndex: 4 }, { rankIndex: 5 }, { rankIndex: 6 }, { rankIndex: 7 });
  const { places, loads, channels, blockBytes } = plan(second, { shape });
  expect(places).toEqual([
    { replica: 1, stage: 0, tensorRank: 0 },
    { replica: 1, stage: 0, tensorRank: 1 },
    { replica: 1, stage: 1, tensorRank: 0 },
    { replica: 1, stage: 1, tensorRank: 1 },
  ]);
  expect(loads.map(({ stage, tensor }) => [stage, tensor])).toEqual(
    places.map(({ stage, tensorRank }) => [stage, { rank: tensorRank, size: 2 }]),
  );
  const between = (carries: string): string[] =>
    channels.filter((c) => c.carries === carries).map((c) => `${c.from} ${c.fromPeer} > ${c.to} ${c.toPeer}`);
  expect(between('stage')).toEqual([
    '0 stage-0 > 2 stage-1',
    '1 stage-0 > 3 stage-1',
    '2 stage-1 > 0 stage-0',
    '3 stage-1 > 1 stage-0',
  ]);
  expect(between('tensor')).toEqual([
    '0 tensor/0 > 1 tensor/1',
    '1 tensor/1 > 0 tensor/0',
    '2 tensor/0 > 3 tensor/1',
    '3 tensor/1 > 2 tensor/0',
  ]);
  // Half of the key-value heads each; the first stage has one layer more than the second.
  expect(blockBytes).toEqual([1536, 1536, 1024, 1024]);
});

test('replicas that share their experts are planned as one, with channels among all ranks of a stage', () => {
  const shape = { replicas: 2, stages: 1, tensorSize: 2, sharesExperts: true };
  const { loads, channels } = plan(members({}, {}, {}, {}), { shape });
  expect(loads.map(({ tensor, expertReplica }) => [tensor.rank, expertReplica])).toEqual([
    [0, { index: 0, count: 2 }],
    [1, { index: 0, count: 2 }],
    [0, { index: 1, count: 2 }],
    [1, { index: 1, count: 2 }],
  ]);
  expect(channels.filter((c) => c.carries === 'tensor')).toHaveLength(4);
  const experts = channels.filter((c) => c.carries === 'experts');
  expect(experts.map(({ from, toPeer }) => `${from} > ${toPeer}`)).toContain('0 > experts/3');
  expect(experts).toHaveLength(12);
  expect(new Set(channels.map(({ name }) => name)).size).toBe(channels.length);
});

test('a stage is told where the experts of its own layers are', () => {
  const expertPlacements = [1, 2, 3].map((layer) => ({ layer, owners: [[0, 1], [1]] }));
  const { loads, layers } = plan(members({}, {}, {}, {}), {
    expertPlacements,
    shape: { replicas: 1, stages: 2, tensorSize: 2, sharesExperts: false },
  });
  expect(layers).toEqual([
    [0, 3],
    [3, 5],
  ]);
  expect(loads.map((load) => load.expertPlacements.map(({ layer }) => layer))).toEqual([[1, 2], [1, 2], [3], [3]]);
  expect(loads[0]?.expertPlacements[0]).toEqual(expertPlacements[0]);
});

test('one member has no channels', () => {
  expect(plan(members({}))).toMatchObject({ channels: [], layers: [[0, 5]], warnings: [] });
});

test('shared memory within a host, TCP between hosts', () => {
  const { channels } = plan(members({ hostId: 'a' }, { hostId: 'a' }, { hostId: 'b' }));
  expect(channels.map((c) => c.transport)).toEqual(['shm', 'tcp', 'tcp']);
});

test('a member that needs UCX and has none is refused with its reason; one that does not need it is not', () => {
  const without = { ucxUnavailable: 'libucp.so.0 was not found' };
  expect(() => plan(members({ hostId: 'a' }, { hostId: 'b', ...without }))).toThrow(
    'worker 1 is on another host and cannot use UCX: libucp.so.0 was not found',
  );
  expect(plan(members(without, without)).channels.map((c) => c.transport)).toEqual(['shm', 'shm']);
});

test('a layer partition is kept to; one that does not fit is refused with its numbers', () => {
  expect(plan(members({}, {}), { layerPartition: [1, 4] }).layers).toEqual([
    [0, 1],
    [1, 5],
  ]);
  expect(() => plan(members({}, {}), { layerPartition: [1, 2] })).toThrow(/1,2.*5/);
  expect(() => plan(members({}, {}), { layerPartition: [5] })).toThrow(/2 pipeline stages/);
  expect(() => plan(members({}, {}, {}, {}, {}, {}))).toThrow(/5 layers/);
});

test('a stage has keys and values of the layers whose attention it has, and experts of those whose feed-forward', () => {
  const expertPlacements = [0, 1, 2].map((layer) => ({ layer, owners: [[0, 1], [1]] }));
  const { layers, loads, blockBytes } = plan(members({}, {}, {}, {}, {}, {}), {
    shape: { replicas: 1, stages: 3, tensorSize: 2, sharesExperts: false },
    layerPartition: [1.5, 0.5, 3],
    expertPlacements,
  });
  expect(layers).toEqual([
    [0, 1.5],
    [1.5, 2],
    [2, 5],
  ]);
  expect(loads.map((load) => load.layers)).toEqual(layers.flatMap((own) => [own, own]));
  expect(loads.map((load) => load.expertPlacements.map(({ layer }) => layer))).toEqual([[0], [0], [1], [1], [2], [2]]);
  expect(blockBytes).toEqual([1024, 1024, 0, 0, 1536, 1536]);
  expect(loads.every(({ numBlocks }) => numBlocks === 32)).toBe(true);
  expect(loads.map((load) => loadSchema.parse(load))).toEqual(loads);
});

test('the KV cache has as many blocks as may be needed, or as fit the stage with most layers', () => {
  const blocks = (change: Partial<FormationInput>): number[] =>
    plan(members({}, {}), change).loads.map((l) => l.numBlocks);
  expect(blocks({})).toEqual([32, 32]);
  // A block of three layers: 3 layers x K and V x 2 heads x 8 wide x 16 tokens x 2 bytes.
  const blockBytes = 3 * 2 * 2 * 8 * 16 * 2;
  expect(blocks({ kvCacheBytes: blockBytes * 7 + 1 })).toEqual([7, 7]);
  expect(blocks({ numBlocks: 9 })).toEqual([9, 9]);
  expect(() => blocks({ kvCacheBytes: blockBytes - 1 })).toThrow(
    `a KV cache of ${blockBytes - 1} bytes holds no block`,
  );
});

test('different instruction levels are allowed with a warning that names them', () => {
  expect(plan(members({}, { instructionLevel: 'AVX3' })).warnings).toEqual([expect.stringContaining('AVX2, AVX3')]);
});
