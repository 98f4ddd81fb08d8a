import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Dtype } from '@skein/native';
import { CheckpointWriteError } from '../errors.ts';
import { parseModel } from '../model-registry.ts';
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

/** Writes a Llama checkpoint with random weights, loadable like a published one. It appears under `dir` whole or, with a
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
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    ...shape,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    initializer_range: 0.02,
    bos_token_id: bosTokenId,
    eos_token_id: eosTokenIds,
    torch_dtype: DTYPE_NAMES[dtype],
    use_cache: true,
  };
  parseModel(config, 'shape');
  const configs = new Map<string, object>([
    ['config.json', config],
    [
      'generation_config.json',
      { bos_token_id: bosTokenId, eos_token_id: eosTokenIds, do_sample: true, temperature: 0.6, top_p: 0.9 },
    ],
    ['tokenizer.json', tokenizer],
    ['tokenizer_config.json', { ...tokenizerConfig, model_max_length: shape.max_position_embeddings }],
  ]);
  return {
    configs,
    tensors: llamaTensors(
      shape,
      new RandomWeights(dtype, seed, shape.hidden_size * Math.max(shape.vocab_size, shape.intermediate_size)),
    ),
  };
}

function llamaTensors(s: CheckpointShape, random: RandomWeights): TensorToWrite[] {
  const { hidden_size: hidden, intermediate_size: intermediate, vocab_size: vocab } = s;
  const queries = s.num_attention_heads * s.head_dim;
  const keys = s.num_key_value_heads * s.head_dim;
  const layer = (i: number): TensorToWrite[] => {
    const name = (part: string): string => `model.layers.${i}.${part}.weight`;
    return [
      random.ones(name('input_layernorm'), [hidden]),
      random.normal(name('self_attn.q_proj'), [queries, hidden]),
      random.normal(name('self_attn.k_proj'), [keys, hidden]),
      random.normal(name('self_attn.v_proj'), [keys, hidden]),
      random.normal(name('self_attn.o_proj'), [hidden, queries]),
      random.ones(name('post_attention_layernorm'), [hidden]),
      random.normal(name('mlp.gate_proj'), [intermediate, hidden]),
      random.normal(name('mlp.up_proj'), [intermediate, hidden]),
      random.normal(name('mlp.down_proj'), [hidden, intermediate]),
    ];
  };
  return [
    random.normal('model.embed_tokens.weight', [vocab, hidden]),
    ...Array.from({ length: s.num_hidden_layers }, (_, i) => layer(i)).flat(),
    random.ones('model.norm.weight', [hidden]),
    ...(s.tie_word_embeddings ? [] : [random.normal('lm_head.weight', [vocab, hidden])]),
  ];
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
