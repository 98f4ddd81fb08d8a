import { buildStageProgram, readCheckpointTensors, readModel } from '@skein/models';
import { loadNative, type Op, type ProgramSpec, type StepInput, type WeightSource } from '@skein/native';
import { openNative } from '../support/pipeline.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { cachedCheckpoint } from './cached-checkpoint.ts';
import { median } from './statistics.ts';
import { row } from './timed-program.ts';

const SHAPE = 'llama-3.2-1b';
/** So many ranks have no whole partial sums of this shape; 2, 4 and 8 have, and add up the same values in either way. */
const RANKS = 3;
const STREAMS = [1, 16];
const ROUNDS = 5;
const STEPS = 6;
const BLOCK_SIZE = 16;

/** What it costs that any number of ranks gives the bits of one: steps of ranks that gather the inputs of a sum and compute whole
 *  rows, beside those of ranks that each multiply the columns they have and add up, in whatever order of columns that is. */
export async function exactSums(progress: (line: string) => void): Promise<BenchResult[]> {
  const dir = await cachedCheckpoint(SHAPE, progress);
  progress('loading');
  const specs = await exactSpecs(dir);
  const addon = loadNative();
  await using exact = await openNative(addon, specs, RANKS);
  await using plain = await openNative(addon, specs.map(withPlainSums), RANKS);
  const times = new Map(STREAMS.map((streams) => [streams, { exact: [] as number[], plain: [] as number[] }]));
  let step = 0;
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [streams, { exact: own, plain: peer }] of times) {
      for (let i = 0; i < STEPS; i++) {
        const input = decodeStep(step++, streams);
        const ms = [await timed(() => exact.run(input)), await timed(() => plain.run(input))] as const;
        // The first round warms up.
        if (round === 0) continue;
        own.push(ms[0]);
        peer.push(ms[1]);
      }
    }
    progress(`round ${round} of ${ROUNDS} done`);
  }
  return [...times].map(([streams, { exact: own, plain: peer }]) => {
    const perSecond = (ms: readonly number[]): number => (1000 * streams) / median(ms);
    return benchResult({
      name: `exact sums, ${RANKS} ranks of 1 thread, ${streams} stream${streams > 1 ? 's' : ''}`,
      value: perSecond(own),
      unit: 'tok/s',
      peer: 'plain sums',
      peerValue: perSecond(peer),
      ratio: median(own.map((ms, i) => (peer[i] ?? Number.NaN) / ms)),
    });
  });
}

async function exactSpecs(dir: string): Promise<ProgramSpec[]> {
  const model = await readModel(dir);
  const tensors = await readCheckpointTensors(dir);
  const most = Math.max(...STREAMS);
  return Array.from({ length: RANKS }, (_, rank) =>
    buildStageProgram({
      model,
      tensors,
      quantization: 'none',
      stages: 1,
      stage: 0,
      layers: [0, model.config.numLayers],
      tensor: { rank, size: RANKS },
      limits: {
        maxTokens: most,
        maxSeqs: most,
        maxRows: most,
        maxModelLen: BLOCK_SIZE,
        maxLogprobs: 0,
        numSlots: most,
      },
      kvCache: { numBlocks: most, blockSize: BLOCK_SIZE, dtype: 'bf16' },
    }),
  );
}

/** The same program with each gathered input, rows and gathered output made a product of this rank's columns and a sum. */
function withPlainSums(spec: ProgramSpec, rank: number): ProgramSpec {
  const ops: Op[] = [];
  const weights: WeightSource[] = [...spec.weights];
  for (let i = 0; i < spec.ops.length; i++) {
    const [gather, linear, join] = spec.ops.slice(i, i + 3);
    const weight = linear?.op === 'linear' ? weights[linear.weight] : undefined;
    const sums =
      gather?.op === 'allGather' && linear?.op === 'linear' && linear.x === gather.out && join?.op === 'allGather';
    if (!sums || weight === undefined) {
      if (gather) ops.push(gather);
      continue;
    }
    const rows = join.widths.reduce((all, width) => all + width, 0);
    weights[linear.weight] = asLarge(weight, [rows, gather.widths[rank] ?? 0]);
    ops.push({ ...linear, x: gather.x });
    ops.push({ op: 'allReduce', x: linear.out, group: join.group, reduction: 'sum', bias: null, out: join.out });
    i += 2;
  }
  return { ...spec, ops, weights };
}

/** A weight of that shape with numbers of `weight`: which ones does not matter to the time. */
function asLarge(weight: WeightSource, shape: readonly number[]): WeightSource {
  if (weight.stored.format !== 'plain') throw new TypeError(`${weight.name} is ${weight.stored.format}`);
  const { tensor } = weight.stored;
  const sizeBytes = 2 * shape.reduce((product, n) => product * n, 1);
  const name = `${weight.name}, columns`;
  return {
    ...weight,
    name,
    shape,
    stored: { format: 'plain', tensor: { ...tensor, name, shape, sizeBytes } },
    firstRow: 0,
  };
}

function decodeStep(step: number, streams: number): StepInput {
  return {
    step,
    feedbackStep: -1,
    sequences: Array.from({ length: streams }, (_, i) => ({
      tokenIds: [1000 + i],
      numComputedTokens: 0,
      blockIds: [i],
    })),
    rows: Array.from({ length: streams }, (_, token) => row(token, null, 0)),
    maxLogprobs: 0,
    rules: [],
  };
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await run();
  return performance.now() - startMs;
}
