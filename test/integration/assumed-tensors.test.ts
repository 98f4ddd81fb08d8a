import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gpuMemory, readPlannedCheckpoint, recommendFormation } from '@skein/models';
import { afterAll, describe, expect, test } from 'vitest';
import { fixtureNames, quantizedNames } from './fixture.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
const LIMITS = { maxTokens: 64, maxSeqs: 4, maxRows: 4, maxModelLen: 64, maxLogprobs: 0, numSlots: 8 };
const root = mkdtempSync(join(tmpdir(), 'skein-plan-'));
afterAll(() => rmSync(root, { recursive: true }));

async function recommend(dir: string) {
  const checkpoint = await readPlannedCheckpoint(dir, 'none');
  const devices = {
    kind: 'gpu',
    count: 1,
    perHost: 1,
    memoryBytes: 16 * 2 ** 30,
    usableShare: 1,
    kvShare: 1,
  } as const;
  const load = {
    context: 64,
    numBlocks: null,
    blockSize: 16,
    kvDtype: 'bf16',
    redundantExperts: 0,
    limits: LIMITS,
  } as const;
  const given = { tensor: 1, pipeline: 1, data: 1, isExpertParallel: false, layerPartition: null };
  return recommendFormation({ checkpoint, devices, load, memory: gpuMemory }, { given, qps: null, bandwidth: 1e9 });
}

// What follows from a config.json alone is what the checkpoint holds.
describe.each([...fixtureNames, ...quantizedNames.map((name) => `quantized/${name}`)])('%s', (name) => {
  test('has the parameters and the bytes of its files', async () => {
    const dir = mkdtempSync(join(root, 'config-'));
    copyFileSync(join(FIXTURES, name, 'config.json'), join(dir, 'config.json'));
    const [real, assumed] = [await recommend(join(FIXTURES, name)), await recommend(dir)];
    expect([real, assumed].map((plan) => plan.planning.checkpoint.isAssumed)).toEqual([false, true]);
    expect(assumed.facts.parameters).toBe(real.facts.parameters);
    // Scales may be stored in more than one type, and in more than one shape.
    expect(assumed.facts.weightBytes / real.facts.weightBytes).toBeGreaterThan(0.95);
    expect(assumed.facts.weightBytes / real.facts.weightBytes).toBeLessThan(1.05);
  });
});
