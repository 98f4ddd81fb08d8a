import { parseAllDocuments } from 'yaml';
import { expect, test } from 'vitest';
import { flagOf, type FlagTexts } from '../flags/argv.ts';
import { flagKeys, flagName } from '../flags/flag-table.ts';
import { resolve } from '../flags/resolve.ts';
import { groupDocument } from './group-document.ts';
import { degreeFlags, groupLayout, loadFlags } from './group-layout.ts';
import { planDocument } from './plan-document.ts';
import { planText } from './plan-text.ts';
import { recommend } from './recommend.ts';

function plan(argv: FlagTexts) {
  return recommend(resolve('plan', { argv, variable: () => null, configFile: null }));
}

test('the text names the degrees, their reasons, the memory and the commands', async () => {
  const text = planText(await plan({ model: ['llama-3-70b'], gpus: ['8'] }), 'DIR');
  expect(text).toMatch(/^llama-3-70b: 70\.55 billion parameters in 131 GiB, 80 layers, 64 heads, 8 KV heads/);
  expect(text).toMatch(/^tensor 8, pipeline 1, data 1: 8 ranks$/m);
  expect(text).toMatch(/^ {2}tensor +8 +by weights alone 2 would do; with 8 the weights take 22 % of each device/m);
  expect(text).toMatch(/^ {2}weights +16\.4 GiB +its part of each parameter, as stored$/m);
  expect(text).toMatch(
    /^ {2}skein up DIR --tensor-parallel-size=8 --pipeline-parallel-size=1 --data-parallel-size=1 /m,
  );
  expect(text).toMatch(/^LeaderWorkerSet: replicas 1, size 1, 8 devices a pod/m);
  for (const line of text.split('\n')) expect(line).toBe(line.trimEnd());
});

test.each<[FlagTexts, object]>([
  [
    { model: ['llama-3.1-405b'], gpus: ['64'] },
    { replicas: 2, size: 4, devicesPerPod: 8 },
  ],
  [
    { model: ['llama-3-70b'], gpus: ['32'] },
    { replicas: 4, size: 1, devicesPerPod: 8 },
  ],
  [
    { model: ['llama-2-7b'], gpus: ['4'] },
    { replicas: 4, size: 1, devicesPerPod: 1 },
  ],
  [
    { model: ['mixtral-8x7b'], gpus: ['16'] },
    { replicas: 1, size: 2, devicesPerPod: 8 },
  ],
  [
    { model: ['llama-3-70b'], gpus: ['8'], gpusPerHost: ['4'] },
    { replicas: 1, size: 2, devicesPerPod: 4 },
  ],
])('%j lies on LeaderWorkerSet groups as %j', async (argv, layout) => {
  expect(groupLayout(await plan(argv))).toEqual(layout);
});

test('the manifest has the layout, and its command the flags', async () => {
  const [set, service] = parseAllDocuments(groupDocument(await plan({ model: ['mixtral-8x7b'], gpus: ['16'] })));
  expect(set?.toJS()).toMatchObject({
    kind: 'LeaderWorkerSet',
    metadata: { name: 'mixtral-8x7b' },
    spec: {
      replicas: 1,
      leaderWorkerTemplate: {
        size: 2,
        leaderTemplate: { metadata: { labels: { role: 'leader' } } },
        workerTemplate: {
          spec: {
            containers: [
              {
                command: expect.arrayContaining([
                  '--tensor-parallel-size=2',
                  '--data-parallel-size=8',
                  '--enable-expert-parallel',
                ]),
                resources: { limits: { 'nvidia.com/gpu': 8 } },
              },
            ],
          },
        },
      },
    },
  });
  expect(service?.toJS()).toMatchObject({ kind: 'Service', spec: { selector: { role: 'leader' } } });
});

test.each([['cluster', 'up'] as const, ['group', 'node'] as const])(
  'the flags of a %s are flags of %s',
  async (of, command) => {
    const argv = { model: ['llama-3-70b'], gpus: ['8'], ppLayerPartition: ['50.5,29.5'], quantization: ['int4'] };
    const recommended = await plan({ ...argv, numGpuBlocksOverride: ['4096'] });
    for (const flag of [...degreeFlags(recommended, of), ...loadFlags(recommended)]) {
      const [, name, value = 'true'] = /^--([a-z-]+)(?:=(.*))?$/.exec(flag) ?? [];
      const key = flagKeys.find((k) => flagName(k) === name);
      expect(key && flagOf(key).commands, flag).toContain(command);
      expect(() => key && flagOf(key).parse([value])).not.toThrow();
    }
  },
);

test('as data the plan has the same numbers', async () => {
  const recommended = await plan({ model: ['llama-3-70b'], gpus: ['8'] });
  const document = JSON.parse(JSON.stringify(planDocument(recommended, 'llama-3-70b')));
  expect(document).toMatchObject({
    formation: { tensor: 8, pipeline: 1, data: 1, isExpertParallel: false },
    sequences: recommended.chosen.sequences,
    ranks: [{ layers: [0, 80] }],
    leaderWorkerSet: { size: 1 },
  });
  const [rank] = document.ranks;
  expect(rank.usedBytes).toBe(
    rank.weightBytes + rank.kvCacheBytes + rank.bufferBytes + rank.logitBytes + rank.runtimeBytes + rank.channelBytes,
  );
});

test('a stage that ends within a layer is shown with what it has of it', async () => {
  const given = { model: ['llama-3.2-1b'], gpus: ['2'], tensorParallelSize: ['1'], pipelineParallelSize: ['2'] };
  const recommended = await plan(given);
  expect(planDocument(recommended, 'llama-3.2-1b')).toMatchObject({
    formation: { layerPartition: [10.5, 5.5] },
    ranks: [{ layers: [0, 10.5] }, { layers: [10.5, 16] }],
  });
  const text = planText(recommended, 'llama-3.2-1b');
  expect(text).toMatch(/^layers 10\.5,5\.5: the slowest stage reads 1\.15 GiB a step, and no other split is better$/m);
  expect(text).toMatch(/^ {2}skein up llama-3\.2-1b .*--pp-layer-partition=10\.5,5\.5 /m);
  const whole = planText(await plan({ ...given, ppLayerPartition: ['10,6'] }), 'llama-3.2-1b');
  expect(whole).toMatch(/^layers 10,6: .*; --pp-layer-partition=10\.5,5\.5 reads 1\.15 GiB, 1 % less$/m);
});

test('quantized weights and caches take fewer devices', async () => {
  const tensor = async (argv: FlagTexts) =>
    (await plan({ model: ['llama-3-70b'], gpus: ['8'], ...argv })).chosen.degrees.tensor;
  expect(await tensor({})).toBe(8);
  expect(await tensor({ quantization: ['int4'] })).toBe(2);
});

test('on the CPUs of this machine the addon says what a rank takes', async () => {
  const argv = { model: ['layers=2'], cpu: ['true'] };
  await expect(plan(argv)).rejects.toMatchObject({ code: 'ERR_OPTION' });
  const recommended = await plan({
    model: ['smollm-135m'],
    cpu: ['true'],
    gpus: ['2'],
    maxNumSeqs: ['64'],
    maxNumBatchedTokens: ['64'],
    gpuBandwidth: ['10GB'],
  });
  // 9 heads do not divide by 2.
  expect(recommended.chosen.degrees).toMatchObject({ tensor: 1, pipeline: 2, data: 1 });
  const [first, last] = recommended.chosen.ranks;
  // Both stages have the embedding, which is the head as well.
  expect(first?.weightBytes).toBeGreaterThan(49152 * 576 * 2 + 15 * 3.5e6 * 2);
  expect(last?.logitBytes).toBeGreaterThan(0);
});

test('replicas of a mixture share their experts where that is given', async () => {
  const given = { tensorParallelSize: ['4'], dataParallelSize: ['2'] };
  const weights = async (argv: FlagTexts) => {
    const { chosen } = await plan({ model: ['mixtral-8x7b'], gpus: ['8'], ...given, ...argv });
    return { ...chosen.degrees, gib: Math.round((chosen.ranks[0]?.weightBytes ?? 0) / 2 ** 30) };
  };
  // 84 GiB of experts, over 4 ranks or over 8.
  expect(await weights({ enableExpertParallel: ['true'] })).toMatchObject({ isExpertParallel: true, gib: 11 });
  // 8 more copies over 8 ranks: twice as many experts on each.
  const copied = { enableExpertParallel: ['true'], numRedundantExperts: ['8'] };
  expect(await weights(copied)).toMatchObject({ isExpertParallel: true, gib: 22 });
  // 8 ranks have room for 56, one of each expert.
  await expect(weights({ numRedundantExperts: ['57'] })).rejects.toMatchObject({ code: 'ERR_FORMATION_CHOICE' });
});

test.each<[FlagTexts, RegExp]>([
  [{ gpus: ['8'] }, /no model is named/],
  [{ model: ['llama-3-70b'] }, /--gpus is not given/],
  [{ model: ['no/where'], gpus: ['8'] }, /no\/where is no folder/],
  [
    { model: ['llama-2-7b'], gpus: ['8'], numRedundantExperts: ['1'] },
    /--num-redundant-experts is 1, and LlamaForCausalLM has no experts; leave it out/,
  ],
])('%j is refused', async (argv, message) => {
  await expect(plan(argv)).rejects.toMatchObject({ message: expect.stringMatching(message) });
});

test('sizes of devices are read with their units', async () => {
  const usable = async (gpuMemory: string) => {
    const { planning } = await plan({ model: ['llama-2-7b'], gpus: ['1'], gpuMemory: [gpuMemory] });
    return planning.devices.memoryBytes;
  };
  expect(await usable('40GiB')).toBe(40 * 2 ** 30);
  expect(await usable('85.9 GB')).toBe(85.9e9);
  await expect(usable('80')).rejects.toMatchObject({ code: 'ERR_FORMATION_CHOICE' });
  await expect(usable('80gib')).rejects.toMatchObject({
    code: 'ERR_OPTION',
    message: expect.stringMatching(/80GiB or 80GB/),
  });
});
