import { expect, test } from 'vitest';
import { FormationChoiceError } from '../errors.ts';
import { parseModel } from '../model-registry.ts';
import { parseCheckpointShape } from '../random-checkpoint/checkpoint-shapes.ts';
import { assumedTensors } from './assumed-tensors.ts';
import { gpuMemory } from './rank-memory.ts';
import { RankRecorder } from './rank-program.ts';
import { recommendFormation } from './recommendation.ts';
import { usableBytes, usedBytes } from './sized-formation.ts';

const LIMITS = { maxTokens: 64, maxSeqs: 8, maxRows: 8, maxModelLen: 256, maxLogprobs: 0, numSlots: 16 };
const LOAD = {
  context: 256,
  numBlocks: null,
  blockSize: 16,
  kvDtype: 'bf16',
  redundantExperts: 0,
  limits: LIMITS,
} as const;
const NOTHING_GIVEN = { tensor: null, pipeline: null, data: null, isExpertParallel: false, layerPartition: null };

function checkpointOf(shape: string) {
  const model = parseModel(parseCheckpointShape(shape), shape);
  return { name: shape, model, tensors: assumedTensors(model), quantization: 'none' as const, isAssumed: true };
}

/** Shapes that divide by nothing in particular, on hosts that do not either, with little room beside what a GPU takes at all. */
const ODD = Array.from({ length: 60 }, (_, i) => {
  const kvHeads = 1 + (i % 5);
  const heads = kvHeads * (1 + ((i * 7) % 4));
  return {
    shape: `layers=${1 + ((i * 5) % 11)},hidden=${heads * 32},heads=${heads},kvHeads=${kvHeads},vocab=${300 + 37 * i},intermediate=${200 + 24 * i},maxLen=256`,
    count: 1 + ((i * 11) % 13),
    perHost: 1 + (i % 6),
    memoryBytes: (1080 + ((i * 13) % 30)) * 2 ** 20,
  };
});

/** Null where nothing fits. */
function planFor({ shape, count, perHost, memoryBytes }: (typeof ODD)[number]) {
  const devices = { kind: 'gpu', count, perHost, memoryBytes, usableShare: 0.95, kvShare: 1 } as const;
  const planning = { checkpoint: checkpointOf(shape), devices, load: LOAD, memory: gpuMemory };
  try {
    return recommendFormation(planning, { given: NOTHING_GIVEN, qps: null, bandwidth: 1e12 });
  } catch (error) {
    if (error instanceof FormationChoiceError) return null;
    throw error;
  }
}

test('whatever the shape, a plan fits its devices and its heads, or is refused', () => {
  let numRefused = 0;
  for (const odd of ODD) {
    const plan = planFor(odd);
    if (plan === null) {
      numRefused++;
      continue;
    }
    const { chosen, facts, planning } = plan;
    const { tensor, pipeline, data } = chosen.degrees;
    expect(tensor * pipeline * data, odd.shape).toBeLessThanOrEqual(odd.count);
    expect(Math.min(odd.perHost, odd.count) % tensor, odd.shape).toBe(0);
    expect(facts.numHeads % tensor, odd.shape).toBe(0);
    expect(chosen.sequences, odd.shape).toBeGreaterThanOrEqual(data);
    for (const rank of chosen.ranks) {
      const used = usedBytes(rank, chosen.kvBlocks, LOAD.blockSize);
      expect(used, odd.shape).toBeLessThanOrEqual(usableBytes(planning.devices));
    }
  }
  expect(numRefused).toBeGreaterThan(5);
  expect(numRefused).toBeLessThan(55);
});

test('the first rank of a stage holds most, and all of them together hold the model', () => {
  const recorder = new RankRecorder(checkpointOf('layers=4,hidden=256,heads=8,kvHeads=4,vocab=1024,intermediate=512'));
  const whole = recorder.whole().weights.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  for (const tensor of [1, 2, 3, 4]) {
    for (const pipeline of [1, 2, 3]) {
      const degrees = { tensor, pipeline, data: 1, isExpertParallel: false, layerPartition: null };
      const held = recorder
        .ranks(degrees, LOAD)
        .reduce(
          (sum, rank) => sum + gpuMemory(rank, { stages: pipeline, tensorSize: tensor, expertReplicas: 1 }).weightBytes,
          0,
        );
      expect(held * tensor).toBeGreaterThanOrEqual(whole * 2);
      // Norms are on every rank, and rows and heads that do not divide go to the first.
      const atMost = tensor === 3 ? 1.6 : 1.01;
      expect(held * tensor).toBeLessThan(whole * 2 * atMost);
    }
  }
});
