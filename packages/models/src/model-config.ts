import { join } from 'node:path';
import type { Dtype } from '@skein/native';
import { z } from 'zod';
import { ModelConfigError } from './errors.ts';
import { parseFields, readJsonFile } from './json-file.ts';
import { KNOWN_ARCHITECTURES, type Architecture } from './architectures.ts';
import { parseRopeConfig, type RopeConfig } from './rope-config.ts';

/** What config.json says of a model, checked: heads divide, sizes are within bounds, and every feature named is served. */
export interface ModelConfig {
  readonly architecture: Architecture;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKVHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly rope: RopeConfig;
  readonly tieWordEmbeddings: boolean;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** Also the longest sequence that is served, whatever the rope scaling. */
  readonly maxPositionEmbeddings: number;
  /** The type the config names; null when it names none. */
  readonly dtype: Dtype | null;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
}

const tokenIds = z.union([z.int().min(-1), z.array(z.int().min(0)).max(256)]).nullish();

const schema = z.object({
  vocab_size: z
    .int()
    .min(1)
    .max(2 ** 22),
  hidden_size: z
    .int()
    .min(1)
    .max(2 ** 17),
  intermediate_size: z
    .int()
    .min(1)
    .max(2 ** 20),
  num_hidden_layers: z.int().min(1).max(4096),
  num_attention_heads: z.int().min(1).max(4096),
  num_key_value_heads: z.int().min(1).max(4096).nullish(),
  head_dim: z.int().min(2).max(2048).nullish(),
  rms_norm_eps: z.number().gt(0).max(0.1).default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  max_position_embeddings: z
    .int()
    .min(1)
    .max(2 ** 27)
    .default(2048),
  hidden_act: z.literal('silu', 'only silu is served').default('silu'),
  quantization_config: z.null('quantized checkpoints are not served').optional(),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
});

const DTYPES: Readonly<Record<string, Dtype>> = {
  float32: 'f32',
  float: 'f32',
  float16: 'f16',
  half: 'f16',
  bfloat16: 'bf16',
};

export async function readModelConfig(dir: string): Promise<ModelConfig> {
  const file = join(dir, 'config.json');
  return parseModelConfig(await readJsonFile(file, ModelConfigError), file);
}

/** @param file names the document in errors. */
export function parseModelConfig(document: unknown, file: string): ModelConfig {
  const architecture = parseArchitecture(document, file);
  const fields = parseFields(schema, document, { file, ErrorClass: ModelConfigError });
  const refuse = (field: string, value: unknown, why: string): ModelConfigError =>
    new ModelConfigError(`${file}: ${field} is ${JSON.stringify(value)}: ${why}`, { details: { file, field, value } });
  const { hidden_size: hiddenSize, num_attention_heads: numHeads } = fields;
  const numKVHeads = fields.num_key_value_heads ?? numHeads;
  if (numHeads % numKVHeads !== 0)
    throw refuse('num_key_value_heads', numKVHeads, `must divide num_attention_heads, which is ${numHeads}`);
  const headDim = fields.head_dim ?? hiddenSize / numHeads;
  if (!Number.isInteger(headDim))
    throw refuse('hidden_size', hiddenSize, `not a multiple of num_attention_heads ${numHeads}; give head_dim`);
  if (headDim % 2 !== 0) throw refuse('head_dim', headDim, 'rotary embeddings need an even size');
  const rope = parseRopeConfig(document, file);
  if (rope.scaling.type === 'dynamic' && headDim === 2)
    throw refuse('head_dim', headDim, 'dynamic rope scaling needs at least 4');
  const dtypeName = fields.dtype ?? fields.torch_dtype ?? null;
  const dtype = dtypeName === null ? null : (DTYPES[dtypeName.replace(/^torch\./, '')] ?? undefined);
  if (dtype === undefined) throw refuse('dtype', dtypeName, `served are ${Object.keys(DTYPES).join(', ')}`);
  return {
    architecture,
    vocabSize: fields.vocab_size,
    hiddenSize,
    intermediateSize: fields.intermediate_size,
    numLayers: fields.num_hidden_layers,
    numHeads,
    numKVHeads,
    headDim,
    rmsNormEps: fields.rms_norm_eps,
    rope,
    tieWordEmbeddings: fields.tie_word_embeddings,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    maxPositionEmbeddings: fields.max_position_embeddings,
    dtype,
    bosTokenId: idList(fields.bos_token_id)[0] ?? null,
    eosTokenIds: idList(fields.eos_token_id),
  };
}

/** Token ids as a list; older configs write -1 for none. */
export function idList(ids: number | readonly number[] | null | undefined): readonly number[] {
  return (typeof ids === 'number' ? [ids] : (ids ?? [])).filter((id) => id >= 0);
}

function parseArchitecture(document: unknown, file: string): Architecture {
  const { architectures } = parseFields(z.object({ architectures: z.array(z.string()).min(1) }), document, {
    file,
    ErrorClass: ModelConfigError,
  });
  const found = KNOWN_ARCHITECTURES.find((known) => known === architectures[0]);
  if (found !== undefined) return found;
  throw new ModelConfigError(
    `${file}: architectures is ${JSON.stringify(architectures)}; served are ${KNOWN_ARCHITECTURES.join(', ')}`,
    {
      details: { file, field: 'architectures', value: architectures },
    },
  );
}
