import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildStageProgram, type Model, parseModel, readCheckpointTensors, stageLayers } from '@skein/models';
import type { Dtype, ProgramSpec, TensorSource } from '@skein/native';

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

export interface Fixture {
  readonly name: string;
  readonly model: Model;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly storage: 'float32' | 'float16' | 'bfloat16';
  /** How far transformers' run in the storage type is from its f32 run; null for f32. */
  readonly storageTypeDeviation: number | null;
  /** The same for its run in bfloat16, over the positions whose logits the fixture has. */
  readonly bfloat16Deviation: number;
  /** Null for a family with more than one table. */
  readonly rope: { readonly inverseFrequencies: Float32Array; readonly attentionFactor: number } | null;
  readonly cases: readonly FixtureCase[];
}

/** family/case. */
export const fixtureNames: readonly string[] = readdirSync(ROOT, { withFileTypes: true })
  .filter((family) => family.isDirectory())
  .flatMap((family) => readdirSync(ROOT + family.name).map((name) => `${family.name}/${name}`))
  .sort();

/** @param change fields of config.json to replace. */
export async function readFixture(name: string, change: object = {}): Promise<Fixture> {
  const file = `${ROOT}${name}/config.json`;
  const model = parseModel({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }, file);
  const tensors = await readCheckpointTensors(ROOT + name);
  const { vocabSize } = model.config;
  const expected = JSON.parse(readFileSync(`${ROOT}${name}/expected.json`, 'utf8'));
  const cases = expected.cases.map(
    (c: { promptTokenIds: number[]; greedyTokenIds: number[]; positions: number[]; logits: string }) => {
      const logits = f32(c.logits);
      const row = (i: number): Float32Array => logits.subarray(i * vocabSize, (i + 1) * vocabSize);
      return {
        promptTokenIds: c.promptTokenIds,
        greedyTokenIds: c.greedyTokenIds,
        logits: new Map(c.positions.map((position, i) => [position, row(i)])),
      };
    },
  );
  return {
    name,
    model,
    tensors,
    storage: expected.dtype,
    storageTypeDeviation: expected.storageTypeDeviation,
    bfloat16Deviation: JSON.parse(readFileSync(`${ROOT}${name}/bfloat16.json`, 'utf8')).deviation,
    rope:
      expected.inverseFrequencies === undefined
        ? null
        : { inverseFrequencies: f32(expected.inverseFrequencies), attentionFactor: expected.attentionFactor },
    cases,
  };
}

export function stageSpecs(fixture: Fixture, stages: number, dtype: Dtype): ProgramSpec[] {
  const { model, tensors } = fixture;
  const kvCache = { numBlocks: NUM_BLOCKS, blockSize: BLOCK_SIZE, dtype };
  return stageLayers(model.config.numLayers, stages, null).map((layers, stage) =>
    buildStageProgram({ model, tensors, stages, stage, layers, limits: LIMITS, kvCache }),
  );
}

function f32(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);
}
