import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { loadNative } from './loader.ts';
import type { Device, NativeAddon, Op, Program, ProgramSpec } from './native.ts';
import {
  feedbackToken,
  GREEDY_ROW,
  packStepInput,
  type StepInput,
  type StepRow,
  type StepSequence,
  unpackStepOutput,
} from './step-io.ts';
import type { TensorSource, WeightSource } from './weight-source.ts';

const VOCAB = 61;
const WIDTH = 40;
const HEADS = 2;
const HEAD_DIM = 20;
const INTER = 52;
const EPS = 1e-5;
const FREQUENCIES = new Float32Array(HEAD_DIM / 2).map((_, i) => 100 ** (-i / (HEAD_DIM / 2)));
const SHAPES: readonly (readonly [string, readonly number[]])[] = [
  ['embed', [VOCAB, WIDTH]],
  ['norm', [WIDTH]],
  ['q', [HEADS * HEAD_DIM, WIDTH]],
  ['k', [HEAD_DIM, WIDTH]],
  ['v', [HEAD_DIM, WIDTH]],
  ['o', [WIDTH, HEADS * HEAD_DIM]],
  ['gate', [INTER, WIDTH]],
  ['up', [INTER, WIDTH]],
  ['down', [WIDTH, INTER]],
  ['bias', [HEAD_DIM]],
];
const OPS: readonly Op[] = [
  { op: 'embed', weight: 0, firstId: 0, scale: 1, out: 0 },
  { op: 'rmsNorm', x: 0, weight: 1, eps: EPS, weightOffset: 0, out: 1 },
  { op: 'linear', x: 1, weight: 2, bias: null, out: 2 },
  { op: 'linear', x: 1, weight: 3, bias: 9, out: 3 },
  { op: 'linear', x: 1, weight: 4, bias: null, out: 4 },
  {
    op: 'rope',
    x: 2,
    numHeads: HEADS,
    headDim: HEAD_DIM,
    rotaryStart: 0,
    interleaved: false,
    rotaryDim: HEAD_DIM,
    inverseFrequencies: FREQUENCIES,
    attentionFactor: 1,
    out: 5,
  },
  {
    op: 'rope',
    x: 3,
    numHeads: 1,
    headDim: HEAD_DIM,
    rotaryStart: 0,
    interleaved: false,
    rotaryDim: HEAD_DIM,
    inverseFrequencies: FREQUENCIES,
    attentionFactor: 1,
    out: 6,
  },
  {
    op: 'attention',
    q: 5,
    k: 6,
    v: 4,
    cacheLayer: 0,
    numHeads: HEADS,
    numKVHeads: 1,
    headDim: HEAD_DIM,
    scale: HEAD_DIM ** -0.5,
    window: null,
    softCap: null,
    out: 7,
  },
  { op: 'linear', x: 7, weight: 5, bias: null, out: 8 },
  { op: 'add', a: 0, b: 8, out: 9 },
  { op: 'linear', x: 9, weight: 6, bias: null, out: 10 },
  { op: 'linear', x: 9, weight: 7, bias: null, out: 11 },
  { op: 'siluMul', gate: 10, up: 11, out: 12 },
  { op: 'linear', x: 12, weight: 8, bias: null, out: 13 },
  { op: 'add', a: 9, b: 13, out: 14 },
  { op: 'gatherRows', x: 14, out: 15 },
  { op: 'logits', x: 15, weight: 0, softCap: null, out: 16 },
  { op: 'sample', logits: 16 },
];

const directory = mkdtempSync(join(tmpdir(), 'skein-native-'));
const tensors: Record<string, Float32Array> = {};
let addon: NativeAddon;
let device: Device;

beforeAll(() => {
  addon = loadNative();
  device = addon.createDevice({ backend: 'cpu', threads: 2 });
  let state = 12345;
  const random = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  for (const [name, shape] of SHAPES) {
    tensors[name] = new Float32Array(shape.reduce((a, b) => a * b, 1)).map(() =>
      name === 'norm' ? 1 + random() : random(),
    );
  }
  writeFileSync(join(directory, 'weights'), Buffer.concat(SHAPES.map(([name]) => Buffer.from(tensors[name]!.buffer))));
});

afterAll(() => {
  device.close();
  rmSync(directory, { recursive: true });
});

function spec(file = join(directory, 'weights'), ops: readonly Op[] = OPS): ProgramSpec {
  let offsetBytes = 0;
  const weights = SHAPES.map(([name, shape]): WeightSource => {
    const sizeBytes = 4 * shape.reduce((a, b) => a * b, 1);
    const tensor: TensorSource = { name, file, offsetBytes, sizeBytes, dtype: 'f32', shape };
    offsetBytes += sizeBytes;
    return { name, shape, stored: { format: 'plain', tensor }, firstRow: 0, firstCol: 0, quantize: null };
  });
  return {
    vocabSize: VOCAB,
    groups: [],
    weights,
    ops,
    limits: { maxTokens: 64, maxSeqs: 4, maxRows: 64, maxModelLen: 128, maxLogprobs: 5, numSlots: 4 },
    weightCache: null,
    kvCache: {
      numBlocks: 16,
      blockSize: 8,
      dtype: 'f32',
      layers: [{ kind: 'heads', numKVHeads: 1, headDim: HEAD_DIM }],
    },
  };
}

async function loaded(): Promise<Program> {
  const program = addon.createProgram(device, spec());
  await program.load(null);
  program.keepLogits(true);
  return program;
}

function row(token: number, options: Partial<StepRow> = {}): StepRow {
  return { ...GREEDY_ROW, token, seed: 7n, position: token, ...options };
}

function step(sequences: readonly StepSequence[], rows: readonly StepRow[], number = 0): StepInput {
  return { step: number, feedbackStep: -1, sequences, rows, maxLogprobs: 5, rules: [] };
}

/** The same model in plain loops over one whole sequence: logits of every token. */
function reference(tokens: readonly number[]): number[][] {
  const linear = (x: number[], name: string, bias?: string): number[] => {
    const w = tensors[name]!;
    return Array.from({ length: w.length / x.length }, (_, n) =>
      x.reduce((sum, v, k) => sum + v * w[n * x.length + k]!, bias === undefined ? 0 : tensors[bias]![n]!),
    );
  };
  const rope = (x: number[], position: number): number[] => {
    const out = [...x];
    const half = HEAD_DIM / 2;
    for (let h = 0; h < x.length; h += HEAD_DIM) {
      for (let i = 0; i < half; i++) {
        const [c, s] = [Math.cos(position * FREQUENCIES[i]!), Math.sin(position * FREQUENCIES[i]!)];
        out[h + i] = x[h + i]! * c - x[h + half + i]! * s;
        out[h + half + i] = x[h + half + i]! * c + x[h + i]! * s;
      }
    }
    return out;
  };
  const keys: number[][] = [];
  const values: number[][] = [];
  return tokens.map((token, position) => {
    const x = Array.from(tensors['embed']!.subarray(token * WIDTH, (token + 1) * WIDTH));
    const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / WIDTH + EPS);
    const h = x.map((v, i) => v * scale * tensors['norm']![i]!);
    const q = rope(linear(h, 'q'), position);
    keys.push(rope(linear(h, 'k', 'bias'), position));
    values.push(linear(h, 'v'));
    const attended = Array.from({ length: HEADS }, (_, head) => {
      const mine = q.slice(head * HEAD_DIM, (head + 1) * HEAD_DIM);
      const weights = keys.map((k) => Math.exp(k.reduce((sum, v, i) => sum + v * mine[i]!, 0) / Math.sqrt(HEAD_DIM)));
      const total = weights.reduce((a, b) => a + b, 0);
      return mine.map((_, i) => weights.reduce((sum, w, j) => sum + w * values[j]![i]!, 0) / total);
    }).flat();
    const residual = linear(attended, 'o').map((v, i) => v + x[i]!);
    const up = linear(residual, 'up');
    const hidden = linear(residual, 'gate').map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
    return linear(
      linear(hidden, 'down').map((v, i) => v + residual[i]!),
      'embed',
    );
  });
}

const argmax = (logits: readonly number[]): number => logits.indexOf(Math.max(...logits));
const TOKENS = [5, 17, 3, 60, 0, 22, 41, 9, 13, 13, 30];

test('packed weights are written once, and read by the next load', async () => {
  const cached = { ...spec(), weightCache: { dir: join(directory, 'weight-cache') } };
  const uses = [];
  for (let start = 0; start < 2; start++) {
    const program = addon.createProgram(device, cached);
    expect(program.weightCacheUse).toBeNull();
    await program.load(null);
    uses.push(program.weightCacheUse);
    program.close();
  }
  const path = expect.stringContaining(cached.weightCache.dir);
  expect(uses).toEqual([
    { path, read: false, written: true, problem: null },
    { path, read: true, written: false, problem: null },
  ]);
});

describe('program', () => {
  test('computes what plain loops compute', async () => {
    const program = await loaded();
    const input = step(
      [{ tokenIds: TOKENS, numComputedTokens: 0, blockIds: [3, 9] }],
      TOKENS.map((_, i) => row(i, { numLogprobs: 2 })),
    );
    const output = unpackStepOutput((await program.run(packStepInput(input), 1000)).words);
    const expected = reference(TOKENS);
    const logits = program.lastLogits()!;
    const largest = Math.max(...expected.flat().map(Math.abs));
    for (const [i, value] of expected.flat().entries())
      expect(Math.abs(logits[i]! - value)).toBeLessThan(1e-5 * largest);
    for (const [i, r] of output.entries()) {
      expect(r.tokenId).toBe(argmax(expected[i]!));
      expect(r.rank).toBe(1);
      const logSum = Math.log(expected[i]!.reduce((sum, v) => sum + Math.exp(v), 0));
      expect(r.logprob).toBeCloseTo(Math.max(...expected[i]!) - logSum, 4);
      expect(r.top.map((t) => t.tokenId)).toEqual(
        expected[i]!.map((v, id) => ({ v, id }))
          .sort((a, b) => b.v - a.v)
          .slice(0, 2)
          .map((t) => t.id),
      );
    }
    program.close();
  });

  test('gives the same bits chunked, batched and decoded through feedback slots', async () => {
    const program = await loaded();
    const whole = step(
      [{ tokenIds: TOKENS, numComputedTokens: 0, blockIds: [0, 1] }],
      TOKENS.map((_, i) => row(i)),
    );
    await program.run(packStepInput(whole), 1000);
    const expected = program.lastLogits()!;
    for (let at = 0; at < TOKENS.length; at += 3) {
      const chunk = TOKENS.slice(at, at + 3);
      const other = { tokenIds: [1, 2, 3, 4, 5].slice(0, at + 1), numComputedTokens: 0, blockIds: [7] };
      const sequences = [other, { tokenIds: chunk, numComputedTokens: at, blockIds: [5, 4] }];
      const rows = chunk.map((_, i) => row(other.tokenIds.length + i));
      await program.run(packStepInput(step(sequences, rows)), 1000);
      expect(program.lastLogits()).toEqual(expected.slice(at * VOCAB, (at + chunk.length) * VOCAB));
    }
    const first = step(
      [{ tokenIds: TOKENS, numComputedTokens: 0, blockIds: [0, 1] }],
      [row(TOKENS.length - 1, { slot: 2 })],
    );
    const sampled = program.run(packStepInput(first), 1000);
    const next = step(
      [{ tokenIds: [feedbackToken(2)], numComputedTokens: TOKENS.length, blockIds: [0, 1] }],
      [row(0)],
      1,
    );
    const output = unpackStepOutput((await program.run(packStepInput(next), 1000)).words);
    const id = unpackStepOutput((await sampled).words)[0]!.tokenId;
    expect(output[0]!.tokenId).toBe(argmax(reference([...TOKENS, id]).at(-1)!));
    program.close();
  });

  test('samples by seed, and scores targets', async () => {
    const program = await loaded();
    const sequence = { tokenIds: TOKENS, numComputedTokens: 0, blockIds: [0, 1] };
    const rows = [
      ...Array.from({ length: 8 }, (_, choice) => row(4, { temperature: 100, choice })),
      row(4, { temperature: 100, topK: 1 }),
      row(4, { target: 33, numLogprobs: 0 }),
    ];
    const run = async (): Promise<readonly number[]> =>
      unpackStepOutput((await program.run(packStepInput(step([sequence], rows)), 1000)).words).map((r) => r.tokenId);
    const ids = await run();
    expect(await run()).toEqual(ids);
    expect(new Set(ids.slice(0, 8)).size).toBeGreaterThan(3);
    expect(ids[8]).toBe(argmax(reference(TOKENS)[4]!));
    expect(ids[9]).toBe(33);
    program.close();
  });
});

test('ranks that share the vocabulary answer what one does', async () => {
  const widths = [40, VOCAB - 40];
  const transport = addon.createTransport({ interfaceName: null, prefersIpv6: false });
  const ranks = widths.map((width, rank) => {
    const firstRow = rank === 0 ? 0 : 40;
    const [{ stored, name }] = spec().weights as [WeightSource];
    const part: WeightSource = { name, shape: [width, WIDTH], stored, firstRow, firstCol: 0, quantize: null };
    const ops = OPS.flatMap((op): Op[] => {
      if (op.op === 'embed') {
        const pick: Op = { op: 'allReduce', x: 20, group: 'tp', reduction: 'pick', bias: null, out: op.out };
        return [{ ...op, firstId: firstRow, out: 20 }, pick];
      }
      if (op.op === 'logits')
        return [
          { ...op, out: 21 },
          { op: 'allGather', x: 21, group: 'tp', widths, out: op.out },
        ];
      return [op];
    });
    const { weights, ...rest } = spec(undefined, ops);
    const groups = [{ name: 'tp', size: 2, rank }];
    return addon.createProgram(device, { ...rest, groups, weights: [part, ...weights.slice(1)] });
  });
  for (const [from, to] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const channel = { name: `${from}-${to}`, transport: 'shm' as const };
    const receive = transport.openReceive({ ...channel, capacityBytes: 1 << 20 });
    const descriptor = receive.descriptor();
    ranks[to]!.bindReceive(`tp/${from}`, receive);
    ranks[from]!.bindSend(`tp/${to}`, await transport.openSend({ ...channel, descriptor, deadlineMs: 1000 }));
  }
  const one = await loaded();
  const rows = [row(3), row(7, { temperature: 0.8, numLogprobs: 2 }), row(10, { temperature: 1, topK: 3 })];
  const input = packStepInput(step([{ tokenIds: TOKENS, numComputedTokens: 0, blockIds: [0, 1] }], rows));
  const wanted = await one.run(input, 10_000);
  await Promise.all(ranks.map((program) => program.load(null)));
  const found = await Promise.all(ranks.map((program) => program.run(input, 10_000)));
  for (const { words } of found) expect(words).toEqual(wanted.words);
  for (const program of [one, ...ranks]) program.close();
  transport.close();
});

test('threads have processors of their own only where all of this host compute', () => {
  // Node's own count heeds the quota too.
  const [, list = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  const many = list
    .split(',')
    .map((range) => range.split('-').map(Number))
    .reduce((sum, [first = 0, last = first]) => sum + last - first + 1, 0);
  const ours = addon.createDevice({ backend: 'cpu', threads: 1 });
  expect(ours.shareProcessors({ first: many - 1, total: many })).toBe(true);
  expect(ours.shareProcessors({ first: many, total: many })).toBe(false);
  expect(ours.shareProcessors({ first: 0, total: many + 1 })).toBe(false);
  expect(ours.shareProcessors(null)).toBe(false);
  const typo = { first: -1, total: many };
  expect(() => ours.shareProcessors(typo)).toThrow(/share\.first/);
  ours.close();
});

describe('failures', () => {
  test('a bad step input names the word', async () => {
    const program = await loaded();
    const bad = step([{ tokenIds: [VOCAB], numComputedTokens: 0, blockIds: [0] }], []);
    await expect(program.run(packStepInput(bad), 1000)).rejects.toMatchObject({
      code: 'ERR_STEP_INPUT',
      message: expect.stringContaining('tokenIds[0] is 61'),
    });
    await expect(program.run(new Int32Array(3), 1000)).rejects.toMatchObject({ code: 'ERR_STEP_INPUT' });
    program.close();
    program.close();
    await expect(program.run(packStepInput(bad), 1000)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  test('a wrong spec names the field or the op', () => {
    const wide: Op[] = [OPS[0]!, { op: 'linear', x: 0, weight: 8, bias: null, out: 1 }];
    expect(() => addon.createProgram(device, spec(undefined, wide))).toThrow(
      /op 1 \(linear\): x is \[tokens, 40\], weight 'down' is \[40, 52\]/,
    );
    const typo = { ...spec(), vocabSize: 'many' } as unknown as ProgramSpec;
    expect(() => addon.createProgram(device, typo)).toThrow(/spec\.vocabSize must be a number/);
    expect(() => addon.createProgram({} as Device, spec())).toThrow(/createDevice/);
  });

  test('a short file fails the load', async () => {
    const file = join(directory, 'short');
    writeFileSync(file, Buffer.concat(SHAPES.map(([name]) => Buffer.from(tensors[name]!.buffer))));
    truncateSync(file, 1000);
    const program = addon.createProgram(device, spec(file));
    await expect(program.load(null)).rejects.toMatchObject({ code: 'ERR_FILE' });
    program.close();
  });

  test('an abort rejects what is queued and later runs work', async () => {
    const program = await loaded();
    const input = packStepInput(step([{ tokenIds: TOKENS, numComputedTokens: 0, blockIds: [0, 1] }], [row(3)]));
    const runs = Array.from({ length: 20 }, () => program.run(input, 1000));
    const settled = Promise.allSettled(runs);
    program.abort();
    const rejected = (await settled).filter((r) => r.status === 'rejected');
    expect(rejected.length).toBeGreaterThan(0);
    for (const r of rejected) expect(r.reason).toMatchObject({ code: 'ERR_ABORTED' });
    await program.run(input, 1000);
    program.reset();
    program.close();
  });
});
