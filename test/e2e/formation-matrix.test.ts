import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CheckpointShape, parseCheckpointShape, writeRandomCheckpoint } from '@skein/models';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { client, serving, skein } from '../support/cluster.ts';
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

/** Greedy ids and logprobs of all prompts at once. */
async function generations(model: string, cell: Cell): Promise<unknown[]> {
  const { tensor, stages, replicas, quantization } = cell;
  const sizes = ['--tp', String(tensor), '--pp', String(stages), '--dp', String(replicas), '--threads', '1'];
  const args = [join(folder, model), '--served-model-name', 'm', '--quantization', quantization, ...sizes];
  await using served = await serving((port) => skein(['serve', ...args, '--port', String(port)]));
  const openai = client(served.url);
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
    const found = generations(model, { tensor: 1, stages: 1, replicas: 1, quantization });
    wanted.set(quantization, found);
    return found;
  };

  test.each(cells.filter((cell) => ranksOf(cell) > 1))(
    'tp $tensor, pp $stages, dp $replicas, weights quantized to $quantization: ids and logprobs of one rank',
    async (cell) => expect(await generations(model, cell)).toEqual(await ofOneRank(cell.quantization)),
    120_000,
  );
});
