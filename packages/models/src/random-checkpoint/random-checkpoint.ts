import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Dtype } from '@skein/native';
import { CheckpointWriteError } from '../errors.ts';
import { type Model, wholeModel } from '../model.ts';
import { parseModel } from '../model-registry.ts';
import { ProgramRecorder } from '../program-recorder.ts';
import { INDEX_FILE, SINGLE_FILE } from '../safetensors.ts';
import { tensorBytes, type TensorToWrite, writeSafetensors } from '../safetensors-writer.ts';
import { makeByteTokenizer } from './byte-tokenizer.ts';
import type { CheckpointShape } from './checkpoint-shapes.ts';
import { RandomWeights } from './random-weights.ts';

export interface RandomCheckpointOptions {
  readonly shape: CheckpointShape;
  /** Must be absent or empty. */
  readonly dir: string;
  readonly seed: number;
  readonly dtype: Dtype;
  /** Most tensor bytes in one file; a larger tensor has a file of its own. */
  readonly shardBytes: number;
  readonly signal: AbortSignal | null;
}

export interface RandomCheckpoint {
  readonly totalBytes: number;
  readonly numFiles: number;
}

const DTYPE_NAMES: Readonly<Record<Dtype, string>> = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' };
/** Room for tokenizer and headers beside the tensors. */
const OTHER_BYTES = 64 * 2 ** 20;

/** Writes a checkpoint with random weights, loadable like a published one. It appears under `dir` whole or, with a
 *  CheckpointWriteError, not at all. */
export async function writeRandomCheckpoint(options: RandomCheckpointOptions): Promise<RandomCheckpoint> {
  const dir = resolve(options.dir);
  const { configs, tensors } = plan(options);
  const shards = splitShards(tensors, options.shardBytes);
  const totalBytes = tensors.reduce((sum, t) => sum + tensorBytes(t), 0);
  const work = await openWorkDir(dir, totalBytes);
  try {
    const weightMap: Record<string, string> = {};
    for (const [i, shard] of shards.entries()) {
      const file =
        shards.length === 1 ? SINGLE_FILE : `model-${number5(i + 1)}-of-${number5(shards.length)}.safetensors`;
      for (const t of shard) weightMap[t.name] = file;
      await writeSafetensors(join(work, file), shard, { signal: options.signal });
    }
    if (shards.length > 1) configs.set(INDEX_FILE, { metadata: { total_size: totalBytes }, weight_map: weightMap });
    for (const [file, content] of configs)
      await writeFile(
        join(work, file),
        `${JSON.stringify(content, null, file === 'tokenizer.json' ? undefined : 2)}\n`,
      );
    await rmdir(dir).catch(ignoreAbsent);
    await rename(work, dir);
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw writeError(dir, error);
  }
  return { totalBytes, numFiles: shards.length };
}

function plan({ shape, seed, dtype }: RandomCheckpointOptions): {
  configs: Map<string, object>;
  tensors: TensorToWrite[];
} {
  const { tokenizer, tokenizerConfig, bosTokenId, eosTokenIds } = makeByteTokenizer(shape.vocab_size);
  const config = {
    ...shape,
    initializer_range: 0.02,
    bos_token_id: bosTokenId,
    eos_token_id: eosTokenIds,
    torch_dtype: DTYPE_NAMES[dtype],
    use_cache: true,
  };
  const model = parseModel(config, 'shape');
  const configs = new Map<string, object>([
    ['config.json', config],
    [
      'generation_config.json',
      { bos_token_id: bosTokenId, eos_token_id: eosTokenIds, do_sample: true, temperature: 0.6, top_p: 0.9 },
    ],
    ['tokenizer.json', tokenizer],
    ['tokenizer_config.json', { ...tokenizerConfig, model_max_length: shape.max_position_embeddings }],
  ]);
  return { configs, tensors: randomTensors(model, dtype, seed) };
}

/** The parameters that the model's own recording asks for, in its order. Norms multiply by 1. */
function randomTensors(model: Model, dtype: Dtype, seed: number): TensorToWrite[] {
  const shapes = new Map<string, readonly number[]>();
  const recorder = new ProgramRecorder(({ name, shape }) => {
    shapes.set(name, shape);
    const tensor = { name, file: '', offsetBytes: 0, sizeBytes: tensorBytes({ dtype, shape }), dtype, shape };
    return { stored: { format: 'plain', tensor }, quantize: null, tensorNames: [name] };
  });
  model.record(recorder, wholeModel(model, model.config.maxPositionEmbeddings));
  const norms = new Map(
    recorder.ops.flatMap((op) =>
      op.op === 'rmsNorm' ? [[recorder.weights[op.weight]?.name ?? '', 1 - op.weightOffset] as const] : [],
    ),
  );
  const sizes = [...shapes.values()].map((shape) => shape.reduce((a, b) => a * b, 1));
  const random = new RandomWeights(dtype, seed, Math.max(...sizes));
  return [...shapes].map(([name, shape]) => {
    const constant = norms.get(name);
    return constant === undefined ? random.normal(name, shape) : random.constant(name, shape, constant);
  });
}

function splitShards(tensors: readonly TensorToWrite[], shardBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [];
  let left = -1;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    const last = shards.at(-1);
    if (last === undefined || bytes > left) {
      shards.push([tensor]);
      left = shardBytes - bytes;
    } else {
      last.push(tensor);
      left -= bytes;
    }
  }
  return shards;
}

/** A new directory beside `dir`, on the same file system, so that one rename puts the checkpoint in place. */
async function openWorkDir(dir: string, totalBytes: number): Promise<string> {
  try {
    const entries = await readdir(dir).catch(ignoreAbsent);
    if (entries !== undefined && entries.length > 0)
      throw new CheckpointWriteError(`${dir}: is not empty; choose another directory or remove it`, {
        details: { dir },
      });
    await mkdir(dirname(dir), { recursive: true });
    const { bavail, bsize } = await statfs(dirname(dir));
    if (bavail * bsize < totalBytes + OTHER_BYTES) {
      throw new CheckpointWriteError(
        `${dir}: the checkpoint needs ${totalBytes + OTHER_BYTES} bytes, ${bavail * bsize} are free; free space or choose another directory`,
        { details: { dir, totalBytes } },
      );
    }
    const work = `${dir}.partial-${randomUUID().slice(0, 8)}`;
    await mkdir(work);
    return work;
  } catch (error) {
    throw writeError(dir, error);
  }
}

function ignoreAbsent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

function writeError(dir: string, error: unknown): CheckpointWriteError {
  if (error instanceof CheckpointWriteError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new CheckpointWriteError(`${dir}: cannot be written (${why}); free space or choose another directory`, {
    cause: error,
    details: { dir },
  });
}

function number5(n: number): string {
  return String(n).padStart(5, '0');
}
