import { expect, test } from 'vitest';
import { gpuMemory } from './rank-memory.ts';
import { readPlannedCheckpoint } from './planned-checkpoint.ts';
import { type Recommendation, recommendFormation } from './recommendation.ts';
import type { GivenDegrees } from './formation-choice.ts';

const GIB = 2 ** 30;
const CHOSEN: GivenDegrees = {
  tensor: null,
  pipeline: null,
  data: null,
  isExpertParallel: false,
  layerPartition: null,
};

interface Row {
  readonly model: string;
  readonly gpus: number;
  readonly perHost?: number;
  readonly memoryGib?: number;
  readonly context?: number;
  readonly given?: Partial<GivenDegrees>;
  readonly qps?: number;
}

async function recommend({ model, gpus, perHost = 8, memoryGib = 80, context = 8192, given = {}, qps }: Row) {
  const checkpoint = await readPlannedCheckpoint(model, 'none');
  const length = Math.min(context, checkpoint.model.config.maxPositionEmbeddings);
  return recommendFormation(
    {
      checkpoint,
      memory: gpuMemory,
      devices: { kind: 'gpu', count: gpus, perHost, memoryBytes: memoryGib * GIB, usableShare: 0.92, kvShare: 1 },
      load: {
        context: length,
        numBlocks: null,
        blockSize: 16,
        kvDtype: 'bf16',
        redundantExperts: 0,
        limits: { maxTokens: 2048, maxSeqs: 128, maxRows: 256, maxModelLen: length, maxLogprobs: 0, numSlots: 256 },
      },
    },
    { given: { ...CHOSEN, ...given }, qps: qps ?? null, bandwidth: 3350e9 },
  );
}

function degrees({ chosen }: Recommendation): string {
  const { tensor, pipeline, data, isExpertParallel } = chosen.degrees;
  return `${tensor} x ${pipeline} x ${data}${isExpertParallel ? ' EP' : ''}`;
}

// Tensor x pipeline x data. A row of the textbook's decision matrix each.
test.each<[string, Row, string]>([
  ['< 13B on 1: none', { model: 'llama-2-7b', gpus: 1 }, '1 x 1 x 1'],
  ['13B on 2 to 4: TP 2', { model: 'llama-2-13b', gpus: 2 }, '2 x 1 x 1'],
  ['13B on 2 to 4: TP 2', { model: 'llama-2-13b', gpus: 4, perHost: 4 }, '2 x 1 x 2'],
  ['30B on 4 to 8: TP 4', { model: 'qwen2.5-32b', gpus: 4, perHost: 4 }, '4 x 1 x 1'],
  ['70B on 8: TP 8', { model: 'llama-3-70b', gpus: 8 }, '8 x 1 x 1'],
  ['70B to 200B on 8 to 16: TP 8, PP 2', { model: 'mistral-large-123b', gpus: 16 }, '8 x 2 x 1'],
  ['70B on 2 hosts: TP 8, PP 2, of devices of 40 GiB', { model: 'llama-3-70b', gpus: 16, memoryGib: 40 }, '8 x 2 x 1'],
  ['> 200B on 16 and more: TP 8, PP 4', { model: 'llama-3.1-405b', gpus: 32 }, '8 x 4 x 1'],
  ['8x7B on 16: TP 2, its experts over all', { model: 'mixtral-8x7b', gpus: 16 }, '2 x 1 x 8 EP'],
  // Its examples beside the matrix.
  ['70B on 32: TP 8, DP 4', { model: 'llama-3-70b', gpus: 32 }, '8 x 1 x 4'],
  ['405B in two groups', { model: 'llama-3.1-405b', gpus: 64 }, '8 x 4 x 2'],
])('%s', async (_, row, expected) => {
  expect(degrees(await recommend(row))).toBe(expected);
});

// Where the textbook's strategy is not the one to take, the plan says why.
test('7B on 2: nothing is split that need not be, and the second device serves a replica', async () => {
  const plan = await recommend({ model: 'llama-2-7b', gpus: 2 });
  expect(degrees(plan)).toBe('1 x 1 x 2');
  expect(plan.reasons.tensor).toMatch(/weights take 17 % of each device; nothing is split that need not be/);
  expect(plan.reasons.data).toMatch(/what 1 of 2 devices leave serves replicas/);
});

test('70B by weights alone fits two devices of 80 GiB; eight are for latency and the KV cache', async () => {
  const plan = await recommend({ model: 'llama-3-70b', gpus: 8 });
  expect(plan.facts.weightBytes / 1e9).toBeCloseTo(141.1, 1);
  expect(plan.least.degrees).toMatchObject({ tensor: 2, pipeline: 1 });
  expect(plan.reasons.tensor).toMatch(/by weights alone 2 would do; with 8 the weights take 22 % of each device/);
  const two = plan.others.find(({ degrees: { tensor } }) => tensor === 2);
  expect(two?.sequences).toBeLessThan(plan.chosen.sequences / 4);
});

test('70B on two hosts of 8 x 80 GiB: the second is a replica, since the first holds the model', async () => {
  const plan = await recommend({ model: 'llama-3-70b', gpus: 16 });
  expect(degrees(plan)).toBe('8 x 1 x 2');
  expect(plan.reasons.pipeline).toMatch(
    /one host holds the model: 131 GiB of weights, 589 GiB usable; another host is worth more as a replica than as a stage/,
  );
});

test('405B on two hosts has two stages, though four would leave it room', async () => {
  const plan = await recommend({ model: 'llama-3.1-405b', gpus: 16 });
  expect(degrees(plan)).toBe('8 x 2 x 1');
  expect(plan.reasons.tensor).toMatch(/which these devices do not reach/);
  expect(plan.reasons.pipeline).toMatch(/spans hosts: of the 589 GiB that a host has, 756 GiB of weights/);
});

test('Mixtral on 16: expert parallelism has no size of its own', async () => {
  const plan = await recommend({ model: 'mixtral-8x7b', gpus: 16 });
  expect(plan.reasons.expert).toMatch(/8 experts over 16 ranks, tensor times data as in vLLM.*: one to each group/);
  expect(plan.reasons.tensor).toMatch(/8 experts give 8 groups of the 16 devices at most/);
});

test('a mixture that one tensor group holds spreads no experts', async () => {
  const plan = await recommend({ model: 'mixtral-8x7b', gpus: 4, perHost: 4 });
  expect(degrees(plan)).toBe('4 x 1 x 1');
  expect(plan.reasons.expert).toMatch(/one group holds all experts/);
});

test('a mixture with latent attention is spread over everything, since tensor ranks would keep copies of its cache', async () => {
  const plan = await recommend({ model: 'deepseek-v3', gpus: 16 });
  expect(degrees(plan)).toBe('1 x 1 x 16 EP');
  expect(plan.reasons.pipeline).toMatch(/experts lie over all hosts/);
  expect(degrees(await recommend({ model: 'deepseek-v3', gpus: 64 }))).toBe('1 x 1 x 64 EP');
  expect(plan.facts.weightBytes / GIB).toBeGreaterThan(620);
  expect(plan.facts.weightBytes / GIB).toBeLessThan(640);
});

test('what does not fit is refused with what would do', async () => {
  await expect(recommend({ model: 'llama-3.1-405b', gpus: 8 })).rejects.toMatchObject({
    code: 'ERR_FORMATION_CHOICE',
    message: expect.stringMatching(
      /llama-3.1-405b and one sequence of 8192 tokens do not fit 8 devices of 80.0 GiB; 16 would do \(tensor 8, pipeline 2\)/,
    ),
  });
  await expect(recommend({ model: 'llama-3-70b', gpus: 8, memoryGib: 1 })).rejects.toMatchObject({
    message: expect.stringMatching(/however many there are/),
  });
});

test('a rank holds its part of matrices and heads, and of KV heads at least one', async () => {
  const kvTokenBytes = async (tensor: number) => {
    const plan = await recommend({ model: 'llama-3-70b', gpus: 16, perHost: 16, given: { tensor, pipeline: 1 } });
    return { bytes: plan.chosen.ranks[0]?.kvTokenBytes, reason: plan.reasons.tensor };
  };
  // 80 layers, K and V, 8 heads of 128 in 2 bytes.
  expect(await kvTokenBytes(4)).toMatchObject({ bytes: (80 * 2 * 8 * 128 * 2) / 4, reason: 'as given' });
  expect(await kvTokenBytes(16)).toMatchObject({
    bytes: 80 * 2 * 128 * 2,
    reason: expect.stringMatching(/8 KV heads for 16 ranks, so that each is kept more than once/),
  });
});

test('degrees that do not divide heads or layers are said', async () => {
  const plan = await recommend({ model: 'llama-3-70b', gpus: 9, perHost: 3, given: { tensor: 3, pipeline: 3 } });
  expect(plan.reasons.tensor).toMatch(/8 KV heads do not divide by 3, so that the first ranks hold more/);
  expect(plan.reasons.pipeline).toMatch(/80 layers do not divide by 3/);
  const forty = await recommend({ model: 'qwen2.5-32b', gpus: 16, perHost: 16, memoryGib: 24 });
  expect(40 % forty.chosen.degrees.tensor).toBe(0);
});

test('a wanted rate limits the replicas, and is said to be too much', async () => {
  const all = await recommend({ model: 'llama-2-7b', gpus: 8 });
  const { requestsPerSecond } = all.rate;
  const three = await recommend({ model: 'llama-2-7b', gpus: 8, qps: 2.5 * requestsPerSecond });
  expect(degrees(three)).toBe('1 x 1 x 3');
  expect(three.reasons.data).toBe('what --qps takes; 5 devices are left over');
  const more = await recommend({ model: 'llama-2-7b', gpus: 8, qps: 9.5 * requestsPerSecond });
  expect(degrees(more)).toBe('1 x 1 x 8');
  expect(more.reasons.data).toBe('--qps would take 10 groups, and there are devices for 8');
});

test('the last stage gets fewer layers where its logits cost as much as some, and half of one where that is better', async () => {
  const plan = await recommend({ model: 'llama-3.2-1b', gpus: 2, given: { tensor: 1, pipeline: 2 } });
  expect(plan.balance?.now.partition).toEqual([10.5, 5.5]);
  expect(plan.balance?.best).toEqual(plan.balance?.now);
  // Sums of the weights of its stages, but for the embedding of the first, and the norm before the logits.
  const [first, last] = plan.chosen.ranks;
  expect(plan.balance?.now.slowest).toBe((first?.weightBytes ?? 0) - 128256 * 2048 * 2);
  expect(last?.weightBytes).toBe(5 * 121_643_008 + 100_667_392 + 128256 * 2048 * 2 + 2048 * 2);
});
