import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  buildStageProgram,
  type ExpertPlacement,
  type Model,
  parseModel,
  type QuantizationOption,
  readCheckpointTensors,
  stageLayers,
} from '@skein/models';
import type { KVCacheDtype, ProgramSpec, TensorSource } from '@skein/native';

const ROOT = fileURLToPath(new URL('../fixtures/', import.meta.url));

export const BLOCK_SIZE = 16;
export const NUM_BLOCKS = 240;
const LIMITS = { maxTokens: 1024, maxSeqs: 32, maxRows: 512, maxModelLen: 256, maxLogprobs: 0, numSlots: 32 };

export interface FixtureCase {
  readonly promptTokenIds: readonly number[];
  readonly greedyTokenIds: readonly number[];
  /** Reference logits by position of prompt and continuation. */
  readonly logits: ReadonlyMap<number, Float32Array>;
}

/** A checkpoint, and what a reference computes with it. */
export interface ReferenceModel {
  readonly name: string;
  readonly model: Model;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly cases: readonly FixtureCase[];
}

export interface Fixture extends ReferenceModel {
  readonly storage: 'float32' | 'float16' | 'bfloat16';
  /** How far transformers' run in the storage type is from its f32 run; null for f32. */
  readonly storageTypeDeviation: number | null;
  /** The same for its run in bfloat16, over the positions whose logits the fixture has. */
  readonly bfloat16Deviation: number;
  /** Null for a family with more than one table. */
  readonly rope: { readonly inverseFrequencies: Float32Array; readonly attentionFactor: number } | null;
}

const QUANTIZED = 'quantized';

/** family/case; without the quantized ones. */
export const fixtureNames: readonly string[] = readdirSync(ROOT, { withFileTypes: true })
  .filter((family) => family.isDirectory() && family.name !== QUANTIZED)
  .flatMap((family) =>
    readdirSync(ROOT + family.name, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${family.name}/${entry.name}`),
  )
  .sort();

/** Names of the checkpoints that are quantized. */
export const quantizedNames: readonly string[] = readdirSync(ROOT + QUANTIZED).sort();

export interface QuantizedFixture extends ReferenceModel {
  /** By module: sha256 of the f32 weight that it stands for, little-endian. */
  readonly weightHashes: Readonly<Record<string, string>>;
  /** How far transformers' logits move when what integer weights meet is rounded to 8 bits; null for weights of floats. */
  readonly activationDeviation: number | null;
}

export function readQuantizedFixture(name: string): Promise<QuantizedFixture> {
  return once(quantizedFixtures, name, () => readQuantized(name));
}

async function readQuantized(name: string): Promise<QuantizedFixture> {
  const { expected, ...reference } = await readReference(`${QUANTIZED}/${name}`, {});
  const { weights: weightHashes, activationDeviation } = expected;
  return { ...reference, weightHashes, activationDeviation };
}

// Most tests of a file read the same few, and nobody writes to them.
const fixtures = new Map<string, Promise<Fixture>>();
const quantizedFixtures = new Map<string, Promise<QuantizedFixture>>();

/** What `of` gives for a name, computed once. */
export function once<T>(known: Map<string, Promise<T>>, name: string, of: () => Promise<T>): Promise<T> {
  const found = known.get(name) ?? of();
  known.set(name, found);
  return found;
}

async function readReference(name: string, change: object) {
  const file = `${ROOT}${name}/config.json`;
  const model = parseModel({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }, file);
  const tensors = await readCheckpointTensors(ROOT + name);
  const { vocabSize } = model.config;
  const expected = JSON.parse(readFileSync(`${ROOT}${name}/expected.json`, 'utf8'));
  const cases = readCases(expected.cases, vocabSize);
  return { name, model, tensors, cases, expected };
}

/** Those that are run with quantized KV caches too: plain heads, windows, heads of an odd width, latent attention. */
export const QUANTIZED_CACHE_FIXTURES = [
  'llama/gqa-llama3-tied',
  'mistral/window-24',
  'llama/mqa-linear-head24',
  'deepseek-v3/grouped-yarn',
];

/** @param change fields of config.json to replace. */
export function readFixture(name: string, change: object | null = null): Promise<Fixture> {
  return change === null ? once(fixtures, name, () => read(name, {})) : read(name, change);
}

async function read(name: string, change: object): Promise<Fixture> {
  const { expected, ...reference } = await readReference(name, change);
  return {
    ...reference,
    storage: expected.dtype,
    storageTypeDeviation: expected.storageTypeDeviation,
    bfloat16Deviation: JSON.parse(readFileSync(`${ROOT}${name}/bfloat16.json`, 'utf8')).deviation,
    rope:
      expected.inverseFrequencies === undefined
        ? null
        : { inverseFrequencies: f32(expected.inverseFrequencies), attentionFactor: expected.attentionFactor },
  };
}

/** Four stages that end within layers: an attention alone, a feed-forward alone, a layer and an attention, and what is left. */
export const fourWithinLayers = (numLayers: number): number[] => [0.5, 0.5, 1.5, numLayers - 2.5];
/** Two stages of which the first ends within a layer. */
export const twoWithinLayers = (numLayers: number): number[] => [1.5, numLayers - 1.5];

export interface StageSpecsOptions {
  readonly stages?: number;
  /** Layers of each stage, in place of `stages`. */
  readonly partition?: (numLayers: number) => readonly number[];
  /** Ranks that share each stage. */
  readonly tensorSize?: number;
  /** Of the cache. */
  readonly dtype: KVCacheDtype;
  readonly quantization?: QuantizationOption;
  readonly expertPlacements?: readonly ExpertPlacement[];
}

interface StoredCase {
  readonly promptTokenIds: readonly number[];
  readonly greedyTokenIds: readonly number[];
  readonly positions: readonly number[];
  readonly logits: string;
}

export function readCases(cases: readonly StoredCase[], vocabSize: number): FixtureCase[] {
  return cases.map(({ promptTokenIds, greedyTokenIds, positions, logits: encoded }) => {
    const logits = f32(encoded);
    const row = (i: number): Float32Array => logits.subarray(i * vocabSize, (i + 1) * vocabSize);
    return {
      promptTokenIds,
      greedyTokenIds,
      logits: new Map(positions.map((position, i) => [position, row(i)])),
    };
  });
}

/** Of every rank, stage by stage. */
export function stageSpecs(
  { model, tensors }: ReferenceModel,
  {
    stages: evenly = 1,
    partition,
    tensorSize = 1,
    dtype,
    quantization = 'none',
    expertPlacements = [],
  }: StageSpecsOptions,
): ProgramSpec[] {
  const kvCache = { numBlocks: NUM_BLOCKS, blockSize: BLOCK_SIZE, dtype };
  const { numLayers } = model.config;
  const layerPartition = partition?.(numLayers) ?? null;
  const stages = layerPartition?.length ?? evenly;
  return stageLayers(numLayers, stages, layerPartition).flatMap((layers, stage) =>
    Array.from({ length: tensorSize }, (_, rank) => {
      const tensor = { rank, size: tensorSize };
      return buildStageProgram({
        model,
        tensors,
        quantization,
        stages,
        stage,
        layers,
        tensor,
        expertPlacements,
        limits: LIMITS,
        kvCache,
      });
    }),
  );
}

function f32(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);
}
