import { ModelConfigError } from '../errors.ts';

/** Fields of config.json that name a model's family and set its sizes. */
export interface CheckpointShape extends Family {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly tie_word_embeddings: boolean;
  readonly rope_theta: number;
  readonly rope_scaling: Readonly<Record<string, string | number>> | null;
}

/** What config.json says of a family beside the sizes. */
interface Family extends Readonly<Record<string, unknown>> {
  readonly architectures: readonly [string];
  readonly model_type: string;
}

const LLAMA: Family = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  attention_bias: false,
  mlp_bias: false,
};
const QWEN2: Family = {
  architectures: ['Qwen2ForCausalLM'],
  model_type: 'qwen2',
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  use_sliding_window: false,
};
const QWEN3: Family = {
  ...QWEN2,
  architectures: ['Qwen3ForCausalLM'],
  model_type: 'qwen3',
  attention_bias: false,
};
const GEMMA3: Family = {
  architectures: ['Gemma3ForCausalLM'],
  model_type: 'gemma3_text',
  rms_norm_eps: 1e-6,
  hidden_activation: 'gelu_pytorch_tanh',
  attention_bias: false,
  query_pre_attn_scalar: 256,
  sliding_window: 512,
  sliding_window_pattern: 6,
  rope_local_base_freq: 10000,
};
const MISTRAL: Family = {
  architectures: ['MistralForCausalLM'],
  model_type: 'mistral',
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  sliding_window: null,
};
const MIXTRAL: Family = {
  architectures: ['MixtralForCausalLM'],
  model_type: 'mixtral',
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  num_local_experts: 8,
  num_experts_per_tok: 2,
};
const DEEPSEEK_V3: Family = {
  architectures: ['DeepseekV3ForCausalLM'],
  model_type: 'deepseek_v3',
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  attention_bias: false,
  q_lora_rank: 1536,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  n_routed_experts: 256,
  n_shared_experts: 1,
  num_experts_per_tok: 8,
  moe_intermediate_size: 2048,
  moe_layer_freq: 1,
  first_k_dense_replace: 3,
  n_group: 8,
  topk_group: 4,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  quantization_config: {
    quant_method: 'fp8',
    fmt: 'e4m3',
    activation_scheme: 'dynamic',
    weight_block_size: [128, 128],
  },
};

const llama3Rope = (
  factor: number,
): Pick<CheckpointShape, 'rope_theta' | 'rope_scaling' | 'max_position_embeddings'> => ({
  rope_theta: 500000,
  rope_scaling: {
    rope_type: 'llama3',
    factor,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
  max_position_embeddings: 131072,
});
const millionRope = (max_position_embeddings: number) => ({
  rope_theta: 1e6,
  rope_scaling: null,
  max_position_embeddings,
});
const plainRope = { rope_theta: 10000, rope_scaling: null, max_position_embeddings: 2048 } as const;
const deepseekRope = {
  rope_theta: 10000,
  rope_scaling: {
    type: 'yarn',
    factor: 40,
    beta_fast: 32,
    beta_slow: 1,
    mscale: 1,
    mscale_all_dim: 1,
    original_max_position_embeddings: 4096,
  },
  max_position_embeddings: 163840,
};

/** Dimensions of published models. */
export const CHECKPOINT_SHAPES: Readonly<Record<string, CheckpointShape>> = {
  'llama-3.2-1b': sizes(
    { vocab: 128256, hidden: 2048, intermediate: 8192, layers: 16, heads: 32, kvHeads: 8, headDim: 64, tied: true },
    llama3Rope(32),
  ),
  'llama-3.2-3b': sizes(
    { vocab: 128256, hidden: 3072, intermediate: 8192, layers: 28, heads: 24, kvHeads: 8, headDim: 128, tied: true },
    llama3Rope(32),
  ),
  'llama-3.1-8b': sizes(
    { vocab: 128256, hidden: 4096, intermediate: 14336, layers: 32, heads: 32, kvHeads: 8, headDim: 128, tied: false },
    llama3Rope(8),
  ),
  'tinyllama-1.1b': sizes(
    { vocab: 32000, hidden: 2048, intermediate: 5632, layers: 22, heads: 32, kvHeads: 4, headDim: 64, tied: false },
    plainRope,
  ),
  'smollm-135m': sizes(
    { vocab: 49152, hidden: 576, intermediate: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64, tied: true },
    plainRope,
  ),
  'qwen2.5-0.5b': sizes(
    { vocab: 151936, hidden: 896, intermediate: 4864, layers: 24, heads: 14, kvHeads: 2, headDim: 64, tied: true },
    millionRope(32768),
    QWEN2,
  ),
  'qwen3-0.6b': sizes(
    { vocab: 151936, hidden: 1024, intermediate: 3072, layers: 28, heads: 16, kvHeads: 8, headDim: 128, tied: true },
    millionRope(40960),
    QWEN3,
  ),
  'gemma-3-1b': sizes(
    { vocab: 262144, hidden: 1152, intermediate: 6912, layers: 26, heads: 4, kvHeads: 1, headDim: 256, tied: true },
    millionRope(32768),
    GEMMA3,
  ),
  'llama-2-7b': sizes(
    { vocab: 32000, hidden: 4096, intermediate: 11008, layers: 32, heads: 32, kvHeads: 32, headDim: 128, tied: false },
    { ...plainRope, max_position_embeddings: 4096 },
  ),
  'llama-2-13b': sizes(
    { vocab: 32000, hidden: 5120, intermediate: 13824, layers: 40, heads: 40, kvHeads: 40, headDim: 128, tied: false },
    { ...plainRope, max_position_embeddings: 4096 },
  ),
  'qwen2.5-32b': sizes(
    { vocab: 152064, hidden: 5120, intermediate: 27648, layers: 64, heads: 40, kvHeads: 8, headDim: 128, tied: false },
    millionRope(32768),
    QWEN2,
  ),
  'llama-3-70b': sizes(
    { vocab: 128256, hidden: 8192, intermediate: 28672, layers: 80, heads: 64, kvHeads: 8, headDim: 128, tied: false },
    { rope_theta: 500000, rope_scaling: null, max_position_embeddings: 8192 },
  ),
  'mistral-large-123b': sizes(
    { vocab: 32768, hidden: 12288, intermediate: 28672, layers: 88, heads: 96, kvHeads: 8, headDim: 128, tied: false },
    millionRope(131072),
    MISTRAL,
  ),
  'llama-3.1-405b': sizes(
    {
      vocab: 128256,
      hidden: 16384,
      intermediate: 53248,
      layers: 126,
      heads: 128,
      kvHeads: 8,
      headDim: 128,
      tied: false,
    },
    llama3Rope(8),
  ),
  'mixtral-8x7b': sizes(
    { vocab: 32000, hidden: 4096, intermediate: 14336, layers: 32, heads: 32, kvHeads: 8, headDim: 128, tied: false },
    millionRope(32768),
    MIXTRAL,
  ),
  'deepseek-v3': sizes(
    // Latent attention has sizes of its own; heads of q and k are 128 + 64 wide.
    {
      vocab: 129280,
      hidden: 7168,
      intermediate: 18432,
      layers: 61,
      heads: 128,
      kvHeads: 128,
      headDim: 192,
      tied: false,
    },
    deepseekRope,
    DEEPSEEK_V3,
  ),
};

interface Sizes {
  readonly vocab: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly tied: boolean;
}

function sizes(
  s: Sizes,
  rope: Pick<CheckpointShape, 'rope_theta' | 'rope_scaling' | 'max_position_embeddings'>,
  family: Family = LLAMA,
): CheckpointShape {
  return {
    ...family,
    vocab_size: s.vocab,
    hidden_size: s.hidden,
    intermediate_size: s.intermediate,
    num_hidden_layers: s.layers,
    num_attention_heads: s.heads,
    num_key_value_heads: s.kvHeads,
    head_dim: s.headDim,
    tie_word_embeddings: s.tied,
    ...rope,
  };
}

const CUSTOM_DEFAULTS = {
  layers: 4,
  hidden: 256,
  intermediate: 0,
  heads: 4,
  kvHeads: 0,
  headDim: 0,
  vocab: 1024,
  maxLen: 2048,
  tied: 0,
};

/** A name of the table, or `layers=4,hidden=256,…` with any of layers, hidden, intermediate (3 x hidden), heads, kvHeads (as
 *  heads), headDim (hidden / heads), vocab, maxLen, tied (0 or 1). */
export function parseCheckpointShape(text: string): CheckpointShape {
  const named = Object.hasOwn(CHECKPOINT_SHAPES, text) ? CHECKPOINT_SHAPES[text] : undefined;
  if (named !== undefined) return named;
  const known = new Map(Object.entries(CUSTOM_DEFAULTS));
  for (const part of text.split(',')) {
    const [key = '', value = ''] = part.split('=');
    if (!known.has(key) || !/^\d{1,9}$/.test(value)) {
      throw new ModelConfigError(
        `shape ${JSON.stringify(text.slice(0, 200))}: ${JSON.stringify(part.slice(0, 50))} is neither a known shape (${Object.keys(CHECKPOINT_SHAPES).join(', ')}) nor <key>=<number> with key ${[...known.keys()].join(', ')}`,
        { details: { shape: text.slice(0, 200) } },
      );
    }
    known.set(key, Number(value));
  }
  const of = (key: keyof typeof CUSTOM_DEFAULTS): number => known.get(key) ?? 0;
  const custom = {
    vocab: of('vocab'),
    hidden: of('hidden'),
    intermediate: of('intermediate') || 3 * of('hidden'),
    layers: of('layers'),
    heads: of('heads'),
    kvHeads: of('kvHeads') || of('heads'),
    headDim: of('headDim') || of('hidden') / of('heads'),
    tied: of('tied') !== 0,
  };
  return sizes(custom, { ...plainRope, max_position_embeddings: of('maxLen') });
}
