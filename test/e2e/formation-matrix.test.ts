import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CheckpointShape, parseCheckpointShape, writeRandomCheckpoint } from '@skein/models';
import type { Experts } from '@skein/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { client, experts, type Served, serving, skein, topology, until } from '../support/cluster.ts';
import { allCells, type Cell, pairwiseCells, ranksOf } from '../support/formation-matrix.ts';

const RANKS_MAX = 8;
/** All cells with FORMATION_MATRIX=all; else some in which every two values meet. */
const cells = process.env['FORMATION_MATRIX'] === 'all' ? allCells() : pairwiseCells(RANKS_MAX);
const dense = parseCheckpointShape('layers=5,hidden=256,intermediate=640,heads=8,kvHeads=2,headDim=32,vocab=1003');

// Key-value heads fewer than ranks, layers, experts, vocabulary that they do not divide.
const MODELS: Readonly<Record<string, CheckpointShape>> = {
  dense,
  mixture: {
    ...dense,
    architectures: ['MixtralForCausalLM'],
    model_type: 'mixtral',
    num_local_experts: 6,
    num_experts_per_tok: 2,
  },
};
const ONE_RANK: Cell = { tensor: 1, stages: 1, replicas: 1, quantization: 'none', experts: 'own' };
/** By stages: two that share a layer; an attention and a feed-forward alone before whole layers. */
const PARTITIONS: Readonly<Record<number, string>> = { 2: '1.5,3.5', 3: '0.5,0.5,4' };
const PROMPTS = ['a', 'The quick brown fox', 'one two three four five six seven', 'x'.repeat(90)];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'skein-matrix-'));
  for (const [name, shape] of Object.entries(MODELS)) {
    const options = { shape, seed: 3, dtype: 'bf16', shardBytes: 2 ** 30, signal: null } as const;
    await writeRandomCheckpoint({ ...options, dir: join(folder, name) });
  }
});
afterAll(() => rm(folder, { recursive: true }));

function start(model: string, cell: Cell, flags: readonly string[] = []): Promise<Served> {
  const { tensor, stages, replicas, quantization } = cell;
  const sizes = ['--tp', String(tensor), '--pp', String(stages), '--dp', String(replicas), '--threads', '1'];
  const args = [join(folder, model), '--served-model-name', 'm', '--quantization', quantization, ...sizes, ...flags];
  const partition = PARTITIONS[stages];
  if (partition !== undefined) args.push('--pp-layer-partition', partition);
  if (cell.experts === 'shared') args.push('--enable-expert-parallel');
  return serving((port) => skein(['serve', ...args, '--port', String(port)]));
}

async function generations(model: string, cell: Cell): Promise<unknown[]> {
  await using served = await start(model, cell);
  return await answers(served.url);
}

/** Greedy ids and logprobs of all prompts at once. */
async function answers(url: string): Promise<unknown[]> {
  const openai = client(url);
  return Promise.all(
    PROMPTS.map(async (prompt) => {
      const ask = { model: 'm', prompt, max_tokens: 12, temperature: 0, logprobs: 2 };
      const { choices } = await openai.completions.create({ ...ask, ...{ ignore_eos: true, return_token_ids: true } });
      const [choice] = choices as unknown as { token_ids: number[]; logprobs: unknown }[];
      return [choice?.token_ids, choice?.logprobs];
    }),
  );
}

describe.each(Object.keys(MODELS))('%s', (model) => {
  const wanted = new Map<string, Promise<unknown[]>>();
  const ofOneRank = (quantization: Cell['quantization']): Promise<unknown[]> => {
    const known = wanted.get(quantization);
    if (known) return known;
    const found = generations(model, { ...ONE_RANK, quantization });
    wanted.set(quantization, found);
    return found;
  };

  const served = cells.filter((cell) => ranksOf(cell) > 1 && (model === 'mixture' || cell.experts === 'own'));
  test.each(served)(
    'tp $tensor, pp $stages, dp $replicas, experts $experts, quantized to $quantization: ids and logprobs of one rank',
    async (cell) => expect(await generations(model, cell)).toEqual(await ofOneRank(cell.quantization)),
    120_000,
  );
});

test('replicas that share their experts are timed together before they serve: ids and logprobs of one rank', async () => {
  const cell: Cell = { ...ONE_RANK, stages: 2, replicas: 2, experts: 'shared' };
  await using served = await start('mixture', cell, ['--pp-measure-stages']);
  expect(await answers(served.url)).toEqual(await generations('mixture', ONE_RANK));
  expect(served.process.output.match(/"msg":"timed the stages"/g)).toHaveLength(1);
  expect((await topology(served.url)).groups[0]?.epoch).toBe(2);
});

test('replicas that share their experts are lost and formed together, and their streams go on', async () => {
  await using served = await start('mixture', { ...ONE_RANK, tensor: 2, replicas: 2, experts: 'shared' });
  const started = new Set<number>();
  const stream = async (replica: number): Promise<string> => {
    let text = '';
    const events = await client(served.url).completions.create(
      { model: 'm', prompt: 'a', max_tokens: 150, temperature: 0, stream: true, ...{ ignore_eos: true } },
      { headers: { 'X-data-parallel-rank': String(replica) } },
    );
    for await (const { choices } of events) {
      text += choices[0]?.text ?? '';
      started.add(replica);
    }
    return text;
  };
  const whole = await stream(0);
  started.clear();
  const running = Promise.all([stream(0), stream(1)]);
  await until('both streams', 10_000, () => started.size === 2);
  const before = (await topology(served.url)).groups[0];
  process.kill(before?.ranks.find(({ replica, tensorRank }) => replica === 1 && tensorRank === 0)?.pid ?? 0, 'SIGKILL');
  expect(await running).toEqual([whole, whole]);
  const after = (await topology(served.url)).groups[0];
  expect(after?.epoch).toBe(2);
  expect(after?.ranks.map(({ pid }, i) => pid === before?.ranks[i]?.pid)).toEqual([true, true, false, true]);
});

/** Of the answers: prompts, and all of what was generated but for the last tokens, which nothing follows. */
async function tokensComputed(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const sum = (name: string): number =>
    [...text.matchAll(new RegExp(`^vllm:${name}\\{.*\\} (\\d+)$`, 'gm'))].reduce(
      (total, [, n]) => total + Number(n),
      0,
    );
  return sum('prompt_tokens_total') + sum('generation_tokens_total') - PROMPTS.length;
}

/** Tokens with which a leader finds out that steps go on, while it has nothing else to do: few in the time of a test. */
const PROOFS_MAX = 20;

test.each<Cell>([
  ONE_RANK,
  { ...ONE_RANK, tensor: 2, stages: 2 },
  { ...ONE_RANK, replicas: 2 },
  { ...ONE_RANK, tensor: 2, replicas: 2, experts: 'shared' },
])(
  'tp $tensor, pp $stages, dp $replicas, experts $experts: every token counts once for each of its experts',
  async (cell) => {
    await using served = await start('mixture', cell);
    // One replica is enough to be ready.
    await until('all ranks', 30_000, async () => (await topology(served.url)).groups[0]?.ready === true);
    await answers(served.url);
    const { layers, ranks } = await experts(served.url);
    expect(layers.map(({ layer }) => layer)).toEqual([0, 1, 2, 3, 4]);
    const computed = await tokensComputed(served.url);
    expect(computed).toBeGreaterThan(100);
    const sums = layers.map(({ tokens }) => tokens.reduce((a, b) => a + b));
    for (const [i, sum] of sums.entries()) {
      // Two experts have each token. Another proof may run meanwhile.
      expect(sum / 2).toBeGreaterThanOrEqual(computed);
      expect(sum / 2).toBeLessThanOrEqual(computed + PROOFS_MAX);
      const owners = layers[i]?.ranks ?? [];
      expect(owners).toHaveLength(6);
      // Replicas that share nothing have all experts each.
      for (const own of owners) expect(own).toHaveLength(cell.experts === 'own' ? cell.replicas : 1);
    }
    expect(ranks.map(({ rankIndex }) => rankIndex)).toEqual([...Array(ranksOf(cell)).keys()]);
    expect(ranks.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(sums.reduce((a, b) => a + b));
    const text = await (await fetch(`${served.url}/metrics`)).text();
    const counted = [...text.matchAll(/^skein_expert_tokens_total\{rank="\d+"\} (\d+)$/gm)].map(([, n]) => Number(n));
    expect(counted).toHaveLength(ranksOf(cell));
    expect(counted.reduce((a, b) => a + b)).toBeGreaterThanOrEqual(sums.reduce((a, b) => a + b));
    const hottest = [...text.matchAll(/^skein_expert_hottest_ratio\{layer="\d"\} (\S+)$/gm)].map(([, n]) => Number(n));
    expect(hottest).toHaveLength(5);
    for (const ratio of hottest) expect(ratio > 1 && ratio <= 3).toBe(true);
  },
);

test('copies of experts change no answer, and what was counted places those of the next start', async () => {
  const wanted = await generations('mixture', ONE_RANK);
  const saved = join(folder, 'experts.json');
  const cell: Cell = { ...ONE_RANK, tensor: 2, replicas: 2, experts: 'shared' };
  {
    await using served = await start('mixture', cell, ['--num-redundant-experts', '3']);
    expect(await answers(served.url)).toEqual(wanted);
    const { layers } = await experts(served.url);
    expect(layers).toHaveLength(5);
    for (const { ranks } of layers) {
      expect(ranks.flat()).toHaveLength(6 + 3);
      for (const own of ranks) expect(own.length).toBeGreaterThan(0);
    }
    await writeFile(saved, await (await fetch(`${served.url}/v1/skein/experts`)).text());
  }
  const counted = (JSON.parse(await readFile(saved, 'utf8')) as Experts).groups[0]?.layers ?? [];
  const flags = ['--num-redundant-experts', '2', '--expert-load', saved];
  await using again = await start('mixture', { ...ONE_RANK, tensor: 4, stages: 2 }, flags);
  expect(await answers(again.url)).toEqual(wanted);
  for (const [i, { ranks }] of (await experts(again.url)).layers.entries()) {
    expect(ranks.flat()).toHaveLength(6 + 2);
    const tokens = counted[i]?.tokens ?? [];
    expect(ranks[tokens.indexOf(Math.max(...tokens))]?.length).toBeGreaterThan(1);
  }
}, 120_000);

test.each([
  [
    'mixture',
    ['--num-redundant-experts', '7'],
    'ERR_EXPERT_PLACEMENT',
    '6 experts over 2 ranks have room for 6 more copies',
  ],
  [
    'mixture',
    ['--expert-load', '/nowhere/experts.json'],
    'ERR_EXPERT_LOAD',
    '--expert-load is /nowhere/experts.json: it cannot be read',
  ],
  [
    'dense',
    ['--num-redundant-experts', '1'],
    'ERR_OPTION',
    '--num-redundant-experts is 1, and LlamaForCausalLM has no experts',
  ],
] as const)('%s with %j is refused before anything starts', async (model, flags, code, says) => {
  await using refused = skein(['serve', join(folder, model), '--port', '0', '--tp', '2', ...flags]);
  expect(await refused.exit()).toBe(78);
  expect(refused.output).toContain(code);
  expect(refused.output).toContain(says);
});

test('a model without experts cannot share them', async () => {
  await using refused = skein(['serve', join(folder, 'dense'), '--port', '0', '--dp', '2', '--enable-expert-parallel']);
  expect(await refused.exit()).toBe(78);
  expect(refused.output).toContain(
    '--enable-expert-parallel is set, and LlamaForCausalLM has no experts; leave it out',
  );
});
