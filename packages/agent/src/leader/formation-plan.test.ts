import { newIdentity, type RankAdvert } from '@skein/protocol';
import { expect, test } from 'vitest';
import { formationInput as input } from '../testing/llama-config.ts';
import { type FormationInput, planFormation } from './formation-plan.ts';
import type { Member } from './membership.ts';

function members(...changes: Partial<RankAdvert>[]): Member[] {
  return changes.map((change, workerIndex) => {
    const rank = newIdentity(`g-${workerIndex}/0`);
    const advert: RankAdvert = {
      workerIndex,
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
      agentAdvert: { workerIndex, host: 'a', pid: 1, rank },
      rank,
      advert,
    };
  });
}

test('members of different revisions are refused with both', () => {
  expect(() => planFormation(members({}, { revision: '1.1' }), input)).toThrow(
    'worker 1 runs revision 1.1, worker 0 runs 1.0; start all from one image',
  );
});

test('stages take the layers between them, and the channels form a ring', () => {
  const plan = planFormation(members({}, {}, {}), input);
  expect(plan.layers).toEqual([
    [0, 2],
    [2, 4],
    [4, 5],
  ]);
  expect(plan.channels.map(({ from, to, name }) => [from, to, name])).toEqual([
    [0, 1, 'stage-0-to-stage-1'],
    [1, 2, 'stage-1-to-stage-2'],
    [2, 0, 'stage-2-to-stage-0'],
  ]);
  expect(plan.loads.map(({ stage, stages, layers }) => ({ stage, stages, layers }))).toEqual(
    plan.layers.map((layers, stage) => ({ stage, stages: 3, layers })),
  );
});

test('one member has no channels', () => {
  expect(planFormation(members({}), input)).toMatchObject({ channels: [], layers: [[0, 5]], warnings: [] });
});

test('shared memory within a host, TCP between hosts', () => {
  const plan = planFormation(members({ hostId: 'a' }, { hostId: 'a' }, { hostId: 'b' }), input);
  expect(plan.channels.map((c) => c.transport)).toEqual(['shm', 'tcp', 'tcp']);
});

test('a member that needs UCX and has none is refused with its reason; one that does not need it is not', () => {
  const without = { ucxUnavailable: 'libucp.so.0 was not found' };
  expect(() => planFormation(members({ hostId: 'a' }, { hostId: 'b', ...without }), input)).toThrow(
    'worker 1 is on another host and cannot use UCX: libucp.so.0 was not found',
  );
  expect(planFormation(members(without, without), input).channels.map((c) => c.transport)).toEqual(['shm', 'shm']);
});

test('a layer partition is kept to; one that does not fit is refused with its numbers', () => {
  expect(planFormation(members({}, {}), { ...input, layerPartition: [1, 4] }).layers).toEqual([
    [0, 1],
    [1, 5],
  ]);
  expect(() => planFormation(members({}, {}), { ...input, layerPartition: [1, 2] })).toThrow(/1,2.*5/);
  expect(() => planFormation(members({}, {}), { ...input, layerPartition: [5] })).toThrow(/2 pipeline stages/);
  expect(() => planFormation(members({}, {}, {}, {}, {}, {}), input)).toThrow(/5 layers/);
});

test('the KV cache has as many blocks as may be needed, or as fit the stage with most layers', () => {
  const blocks = (change: Partial<FormationInput>): number[] =>
    planFormation(members({}, {}), { ...input, ...change }).loads.map((l) => l.numBlocks);
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
  expect(planFormation(members({}, { instructionLevel: 'AVX3' }), input).warnings).toEqual([
    expect.stringContaining('AVX2, AVX3'),
  ]);
});
