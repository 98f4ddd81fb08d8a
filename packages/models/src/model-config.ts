import type { Dtype, KVCacheLayer } from '@skein/native';
import { z } from 'zod';
import { ModelConfigError } from './errors.ts';
import { parseFields } from './json-file.ts';
import { type CheckpointQuantization, parseQuantization } from './quantization/checkpoint-quantization.ts';

/** What every family's config has, checked and within bounds. Plain data: the fingerprint covers all of it, and whatever a
 *  family adds. */
export interface ModelConfig {
  /** The first of config.json's `architectures`. */
  readonly architecture: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** Also the longest sequence that is served, whatever the rope scaling. */
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /** The type the config names; null when it names none. */
  readonly dtype: Dtype | null;
  /** How the checkpoint's matrices are quantized; null when they are not. */
  readonly quantization: CheckpointQuantization | null;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  /** What each layer keeps per token, in layer order. */
  readonly kvCacheLayers: readonly KVCacheLayer[];
}

export const tokenIds = z.union([z.int().min(-1), z.array(z.int().min(0)).max(256)]).nullish();

const DTYPES: Readonly<Record<string, Dtype>> = {
  float32: 'f32',
  float: 'f32',
  float16: 'f16',
  half: 'f16',
  bfloat16: 'bf16',
};

/** Fields of config.json that every family has, to spread into its schema; a family may replace a default. */
export const commonFields = {
  architectures: z.array(z.string()).min(1),
  vocab_size: z
    .int()
    .min(1)
    .max(2 ** 22),
  hidden_size: z
    .int()
    .min(1)
    .max(2 ** 17),
  num_hidden_layers: z.int().min(1).max(4096),
  rms_norm_eps: z.number().gt(0).max(0.1).default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  max_position_embeddings: z
    .int()
    .min(1)
    .max(2 ** 27)
    .default(2048),
  quantization_config: z.unknown().optional(),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
};

/** Fields of attention with query heads that share key-value heads. */
export const headFields = {
  num_attention_heads: z.int().min(1).max(4096),
  num_key_value_heads: z.int().min(1).max(4096).nullish(),
  head_dim: z.int().min(2).max(2048).nullish(),
};

/** Width of a feed-forward layer. */
export const intermediateSize = z
  .int()
  .min(1)
  .max(2 ** 20);

export const silu = z.literal('silu', 'only silu is served').default('silu');

/** Positions that a token attends to, its own included. */
export const window = z
  .int()
  .min(1)
  .max(2 ** 27);

/** Which layers have a window; null leaves it to the family. */
export const layerTypes = z
  .array(z.enum(['full_attention', 'sliding_attention']))
  .max(4096)
  .nullish();

interface LayerFields {
  readonly num_hidden_layers: number;
  readonly layer_types?: readonly ('full_attention' | 'sliding_attention')[] | null | undefined;
}

/** The window of each layer, by `layer_types`, or where that is absent by `isSliding`. */
export function layerWindows(
  { num_hidden_layers: numLayers, layer_types: types }: LayerFields,
  file: string,
  { window, isSliding }: { readonly window: number | null; readonly isSliding: (layer: number) => boolean },
): (number | null)[] {
  if (types && types.length !== numLayers) {
    const why = `num_hidden_layers is ${numLayers}; give one entry for each`;
    throw refusedField(file, { field: 'layer_types', value: types, why });
  }
  return Array.from({ length: numLayers }, (_, layer) => {
    if (types ? types[layer] !== 'sliding_attention' : !isSliding(layer)) return null;
    if (window !== null) return window;
    throw refusedField(file, { field: 'sliding_window', value: null, why: `layer ${layer} needs one` });
  });
}

/** Reads config.json by a family's schema; the error names file and field. */
export function parseConfig<T>(schema: z.ZodType<T>, document: unknown, file: string): T {
  return parseFields(schema, document, { file, ErrorClass: ModelConfigError });
}

type CommonFields = z.infer<z.ZodObject<typeof commonFields>>;

/** All of a ModelConfig but the cache's layout, which the family knows. */
export function commonConfig(fields: CommonFields, file: string): Omit<ModelConfig, 'kvCacheLayers'> {
  const dtypeName = fields.dtype ?? fields.torch_dtype ?? null;
  const dtype = dtypeName === null ? null : (DTYPES[dtypeName.replace(/^torch\./, '')] ?? undefined);
  if (dtype === undefined)
    throw refusedField(file, { field: 'dtype', value: dtypeName, why: `served are ${Object.keys(DTYPES).join(', ')}` });
  return {
    architecture: fields.architectures[0] ?? '',
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    numLayers: fields.num_hidden_layers,
    maxPositionEmbeddings: fields.max_position_embeddings,
    tieWordEmbeddings: fields.tie_word_embeddings,
    dtype,
    quantization: parseQuantization(fields.quantization_config, file),
    bosTokenId: idList(fields.bos_token_id)[0] ?? null,
    eosTokenIds: idList(fields.eos_token_id),
  };
}

/** Heads of an attention layer. */
export interface AttentionHeads {
  readonly numHeads: number;
  readonly numKVHeads: number;
  readonly headDim: number;
}

type HeadFields = z.infer<z.ZodObject<typeof headFields>> & { readonly hidden_size: number };

/** KV heads divide the query heads; without `head_dim` the heads share the hidden size. */
export function attentionHeads(fields: HeadFields, file: string): AttentionHeads {
  const { hidden_size: hiddenSize, num_attention_heads: numHeads } = fields;
  const numKVHeads = fields.num_key_value_heads ?? numHeads;
  if (numHeads % numKVHeads !== 0) {
    const why = `must divide num_attention_heads, which is ${numHeads}`;
    throw refusedField(file, { field: 'num_key_value_heads', value: numKVHeads, why });
  }
  const headDim = fields.head_dim ?? hiddenSize / numHeads;
  if (!Number.isInteger(headDim)) {
    const why = `not a multiple of num_attention_heads ${numHeads}; give head_dim`;
    throw refusedField(file, { field: 'hidden_size', value: hiddenSize, why });
  }
  if (headDim % 2 !== 0)
    throw refusedField(file, { field: 'head_dim', value: headDim, why: 'rotary embeddings need an even size' });
  return { numHeads, numKVHeads, headDim };
}

/** The cache layout of `numLayers` layers that all keep K and V of the same heads. */
export function headLayers(numLayers: number, { numKVHeads, headDim }: AttentionHeads): KVCacheLayer[] {
  return Array.from({ length: numLayers }, () => ({ kind: 'heads', numKVHeads, headDim }));
}

/** The error for a field whose value is well-formed and still cannot be served. */
export function refusedField(
  file: string,
  { field, value, why }: { readonly field: string; readonly value: unknown; readonly why: string },
): ModelConfigError {
  return new ModelConfigError(`${file}: ${field} is ${JSON.stringify(value)}: ${why}`, {
    details: { file, field, value },
  });
}

/** Token ids as a list; older configs write -1 for none. */
export function idList(ids: number | readonly number[] | null | undefined): readonly number[] {
  return (typeof ids === 'number' ? [ids] : (ids ?? [])).filter((id) => id >= 0);
}
