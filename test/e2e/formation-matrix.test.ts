import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CheckpointShape, parseCheckpointShape, writeRandomCheckpoint } from '@skein/models';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { client, type Served, serving, skein, topology, until } from '../support/cluster.ts';
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

function start(model: string, { tensor, stages, replicas, quantization, experts }: Cell): Promise<Served> {
  const sizes = ['--tp', String(tensor), '--pp', String(stages), '--dp', String(replicas), '--threads', '1'];
  const args = [join(folder, model), '--served-model-name', 'm', '--quantization', quantization, ...sizes];
  if (experts === 'shared') args.push('--enable-expert-parallel');
  return serving((port) => skein(['serve', ...args, '--port', String(port)]));
}

/** Greedy ids and logprobs of all prompts at once. */
async function generations(model: string, cell: Cell): Promise<unknown[]> {
  await using served = await start(model, cell);
  const openai = client(served.url);
  return await Promise.all(
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

test('a model without experts cannot share them', async () => {
  await using refused = skein(['serve', join(folder, 'dense'), '--port', '0', '--dp', '2', '--enable-expert-parallel']);
  expect(await refused.exit()).toBe(78);
  expect(refused.output).toContain(
    '--enable-expert-parallel is set, and LlamaForCausalLM has no experts; leave it out',
  );
});
