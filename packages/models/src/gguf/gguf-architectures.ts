import type { TensorSource } from '@skein/native';
import type { ParameterForm } from '../program-recorder.ts';
import type { GgufValues } from './gguf-values.ts';
import {
  DEEPSEEK_NAMES,
  GEMMA_NAMES,
  MIXTRAL_NAMES,
  PHI3_NAMES,
  PLAIN_NAMES,
  QWEN_MOE_NAMES,
  type TensorNames,
} from './tensor-names.ts';

type Tensors = ReadonlyMap<string, TensorSource>;

/** What files of one `general.architecture` mean. */
export interface GgufArchitecture {
  /** The model's name in config.json, and the fields that config.json has there beside those of every model. */
  readonly describe: (values: GgufValues, tensors: Tensors) => { readonly name: string; readonly fields: object };
  readonly names: (values: GgufValues) => TensorNames;
  readonly form: ParameterForm;
}

const AS_PUBLISHED: ParameterForm = { interleavedRope: false, wholeNorms: false };
/** The converter reorders the rows of q and k. */
const INTERLEAVED: ParameterForm = { interleavedRope: true, wholeNorms: false };
/** The converter adds the 1 that these models add to their norms. */
const WHOLE_NORMS: ParameterForm = { interleavedRope: false, wholeNorms: true };

const plain = (name: string, fields: object = {}): GgufArchitecture => ({
  describe: () => ({ name, fields }),
  names: () => PLAIN_NAMES,
  form: AS_PUBLISHED,
});

const llama: GgufArchitecture = {
  describe(values, tensors) {
    for (const key of ['attention.scale', 'logit_scale', 'residual_scale', 'embedding_scale', 'attention.clamp_kqv'])
      if (values.number(key)) throw values.refused(key, 'not served for this architecture');
    if (hasExperts(values)) {
      return {
        name: 'MixtralForCausalLM',
        fields: {
          num_local_experts: values.needed('expert_count'),
          num_experts_per_tok: values.needed('expert_used_count'),
        },
      };
    }
    return {
      name: 'LlamaForCausalLM',
      fields: { attention_bias: tensors.has('blk.0.attn_q.bias'), mlp_bias: tensors.has('blk.0.ffn_up.bias') },
    };
  },
  names: (values) => (hasExperts(values) ? MIXTRAL_NAMES : PLAIN_NAMES),
  form: INTERLEAVED,
};

function hasExperts(values: GgufValues): boolean {
  return (values.number('expert_count') ?? 0) > 0;
}

const qwenMoe = (name: string, fields: (values: GgufValues) => object): GgufArchitecture => ({
  describe(values) {
    const perToken = values.needed('expert_used_count');
    return {
      name,
      fields: {
        num_experts: values.needed('expert_count'),
        num_experts_per_tok: perToken,
        moe_intermediate_size:
          values.number('expert_feed_forward_length') ?? values.needed('feed_forward_length') / perToken,
        ...fields(values),
      },
    };
  },
  names: () => QWEN_MOE_NAMES,
  form: AS_PUBLISHED,
});

const gemma = (
  name: string,
  options: { readonly largest: number; readonly fields: (values: GgufValues) => object },
) => ({
  describe(values: GgufValues) {
    const heads = values.needed('attention.head_count');
    const width = values.needed('embedding_length');
    // The largest model of each generation scales its scores by another size than its heads', which files do not say.
    const isLargest = values.needed('block_count') === options.largest;
    return {
      name,
      fields: {
        query_pre_attn_scalar: isLargest ? width / heads : (values.number('attention.key_length') ?? width / heads),
        final_logit_softcapping: values.number('final_logit_softcapping'),
        sliding_window: values.number('attention.sliding_window'),
        ...options.fields(values),
      },
    };
  },
  names: () => GEMMA_NAMES,
  form: WHOLE_NORMS,
});

const phi3: GgufArchitecture = {
  describe(values) {
    const turned = values.number('rope.dimension_count');
    const headDim = values.needed('embedding_length') / values.needed('attention.head_count');
    return {
      name: 'Phi3ForCausalLM',
      fields: {
        partial_rotary_factor: turned === undefined ? 1 : turned / headDim,
        sliding_window: values.number('attention.sliding_window') || null,
      },
    };
  },
  names: () => PHI3_NAMES,
  form: AS_PUBLISHED,
};

const SIGMOID = 2;

const deepseek2: GgufArchitecture = {
  describe(values, tensors) {
    if (tensors.has('blk.0.attn_k_b.weight'))
      throw values.refused(
        'attention.key_length_mla',
        'files that store kv_b_proj in two parts are not served; bring the safetensors checkpoint',
      );
    const isV3 = values.number('expert_gating_func') === SIGMOID;
    const ropeDim = values.needed('rope.dimension_count');
    return {
      name: isV3 ? 'DeepseekV3ForCausalLM' : 'DeepseekV2ForCausalLM',
      fields: {
        head_dim: undefined,
        num_key_value_heads: undefined,
        kv_lora_rank: values.needed('attention.kv_lora_rank'),
        q_lora_rank: tensors.has('blk.0.attn_q_a.weight') ? values.needed('attention.q_lora_rank') : null,
        qk_rope_head_dim: ropeDim,
        qk_nope_head_dim: values.needed('attention.key_length') - ropeDim,
        v_head_dim: values.needed('attention.value_length'),
        n_routed_experts: values.number('expert_count') || null,
        n_shared_experts: values.number('expert_shared_count') || null,
        num_experts_per_tok: values.number('expert_used_count'),
        moe_intermediate_size: values.number('expert_feed_forward_length') ?? values.needed('feed_forward_length'),
        first_k_dense_replace: values.number('leading_dense_block_count') ?? 0,
        n_group: values.number('expert_group_count') ?? 1,
        topk_group: values.number('expert_group_used_count') ?? 1,
        topk_method: isV3 ? 'noaux_tc' : 'group_limited_greedy',
        norm_topk_prob: values.bool('expert_weights_norm') ?? false,
        routed_scaling_factor: values.number('expert_weights_scale') || 1,
      },
    };
  },
  names: () => DEEPSEEK_NAMES,
  form: AS_PUBLISHED,
};

export const GGUF_ARCHITECTURES: ReadonlyMap<string, GgufArchitecture> = new Map([
  ['deepseek2', deepseek2],
  [
    'gemma2',
    gemma('Gemma2ForCausalLM', {
      largest: 46,
      fields: (values) => ({ attn_logit_softcapping: values.number('attn_logit_softcapping') }),
    }),
  ],
  [
    'gemma3',
    gemma('Gemma3ForCausalLM', {
      largest: 62,
      fields: (values) => ({
        rope_local_base_freq: values.number('rope.freq_base_swa') ?? 1e4,
        sliding_window_pattern: values.number('attention.sliding_window_pattern') ?? 6,
      }),
    }),
  ],
  ['llama', llama],
  ['phi3', phi3],
  ['qwen2', plain('Qwen2ForCausalLM')],
  [
    'qwen2moe',
    qwenMoe('Qwen2MoeForCausalLM', (values) => ({
      shared_expert_intermediate_size:
        values.number('expert_shared_feed_forward_length') ?? values.needed('feed_forward_length'),
      norm_topk_prob: false,
    })),
  ],
  ['qwen3', plain('Qwen3ForCausalLM')],
  ['qwen3moe', qwenMoe('Qwen3MoeForCausalLM', () => ({ norm_topk_prob: true }))],
]);
