import { newIdentity } from '@skein/protocol';
import { Metrics } from '@skein/telemetry';
import { expect, test } from 'vitest';
import type { RankStatus } from '../rank/rank-actor.ts';
import { memberOf } from '../testing/member.ts';
import { ExpertLoads } from './expert-loads.ts';

type Layers = RankStatus['experts'];

/** Of layer 3, by expert. */
function layer(tokens: Readonly<Record<number, number>>): Layers {
  return [{ layer: 3, ids: Object.keys(tokens).map(Number), tokens: Object.values(tokens) }];
}

test('counts add up over ranks, epochs and restarts, each pair once', async () => {
  const metrics = new Metrics();
  const loads = new ExpertLoads(metrics);
  const [one, two] = [memberOf(0), memberOf(1)];
  const answer = async () => {
    const { layers, ranks } = await loads.read([]);
    return [layers[0]?.tokens, ranks.map(({ tokens }) => tokens)];
  };
  loads.add(one, { epoch: 1, experts: [] });
  loads.add(one, { epoch: 1, experts: layer({ 0: 5, 1: 1 }) });
  loads.add(two, { epoch: 1, experts: layer({ 1: 2, 2: 4 }) });
  expect(await loads.read([])).toEqual({
    layers: [{ layer: 3, tokens: [5, 3, 4], ranks: [[0], [0, 1], [1]] }],
    ranks: [
      { rankIndex: 0, tokens: 6 },
      { rankIndex: 1, tokens: 6 },
    ],
  });
  // The weights outlive an epoch, and so do their counts.
  loads.add(one, { epoch: 2, experts: layer({ 0: 7, 1: 1 }) });
  expect(await answer()).toEqual([
    [7, 3, 4],
    [8, 6],
  ]);
  // Answers that come late: of the epoch before, and of this one.
  loads.add(one, { epoch: 1, experts: layer({ 0: 6, 1: 1 }) });
  loads.add(one, { epoch: 2, experts: layer({ 0: 6, 1: 1 }) });
  expect(await answer()).toEqual([
    [7, 3, 4],
    [8, 6],
  ]);
  // Another process in its place, with other experts; and weights that the same one loads anew.
  loads.add({ ...one, rank: newIdentity('g-0/0') }, { epoch: 3, experts: layer({ 0: 8, 2: 1 }) });
  loads.add(two, { epoch: 3, experts: layer({ 1: 1, 2: 0 }) });
  expect(await answer()).toEqual([
    [15, 4, 5],
    [17, 7],
  ]);
  const text = await metrics.text();
  expect(text).toContain('skein_expert_tokens_total{rank="0"} 17');
  expect(text).toContain(`skein_expert_hottest_ratio{layer="3"} ${15 / 8}`);
});

test('a rank that does not answer is shown as it was', async () => {
  const metrics = new Metrics();
  const loads = new ExpertLoads(metrics);
  const members = [memberOf(0)];
  const formation = (status: Partial<RankStatus> | null) => ({
    current: { epoch: 1, members },
    status: async () => status as RankStatus | null,
  });
  expect(await loads.read([formation(null)])).toEqual({ layers: [], ranks: [] });
  const shown = await loads.read([formation({ epoch: 1, experts: layer({ 0: 0 }) })]);
  expect(shown.layers).toEqual([{ layer: 3, tokens: [0], ranks: [[0]] }]);
  expect(await metrics.text()).toContain('skein_expert_hottest_ratio{layer="3"} 1');
  expect(await loads.read([formation(null)])).toEqual(shown);
});
