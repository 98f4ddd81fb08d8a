import { describe, expect, test } from 'vitest';
import { ModelConfigError } from '../errors.ts';
import { parseModel } from '../model-registry.ts';

// Sizes as published with DeepSeek-V2-Lite and DeepSeek-V3.
const lite = {
  architectures: ['DeepseekV2ForCausalLM'],
  vocab_size: 102400,
  hidden_size: 2048,
  intermediate_size: 10944,
  num_hidden_layers: 27,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  kv_lora_rank: 512,
  q_lora_rank: null,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  n_routed_experts: 64,
  n_shared_experts: 2,
  num_experts_per_tok: 6,
  moe_intermediate_size: 1408,
  first_k_dense_replace: 1,
  n_group: 1,
  topk_group: 1,
  topk_method: 'greedy',
  scoring_func: 'softmax',
  norm_topk_prob: false,
  max_position_embeddings: 163840,
  torch_dtype: 'bfloat16',
  rope_scaling: {
    type: 'yarn',
    factor: 40,
    mscale: 0.707,
    mscale_all_dim: 0.707,
    beta_fast: 32,
    beta_slow: 1,
    original_max_position_embeddings: 4096,
  },
};
const v3 = {
  ...lite,
  architectures: ['DeepseekV3ForCausalLM'],
  num_hidden_layers: 61,
  num_attention_heads: 128,
  q_lora_rank: 1536,
  n_routed_experts: 256,
  n_shared_experts: 1,
  num_experts_per_tok: 8,
  first_k_dense_replace: 3,
  n_group: 8,
  topk_group: 4,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  num_nextn_predict_layers: 1,
};

const parse = (document: object) => parseModel(document, 'config.json');

describe('DeepSeek', () => {
  test('the cache keeps one latent row per token and layer', () => {
    const { kvCacheLayers } = parse(lite).config;
    expect(kvCacheLayers).toHaveLength(27);
    expect(kvCacheLayers[26]).toEqual({ kind: 'latent', latentDim: 512, ropeDim: 64 });
  });

  test("yarn's magnitude enters the score twice", () => {
    const magnitude = 0.1 * 0.707 * Math.log(40) + 1;
    expect(parse(lite).config).toHaveProperty('scale', 192 ** -0.5 * magnitude ** 2);
    expect(parse({ ...lite, rope_scaling: null }).config).toHaveProperty('scale', 192 ** -0.5);
  });

  test('layers behind the last are unneeded only where config.json counts them', () => {
    const model = parse(v3);
    expect(model.isUnneeded('model.layers.61.eh_proj.weight')).toBe(true);
    expect(model.isUnneeded('model.layers.62.eh_proj.weight')).toBe(false);
    expect(model.isUnneeded('model.layers.60.mlp.gate.weight')).toBe(false);
    expect(parse(lite).isUnneeded('model.layers.27.eh_proj.weight')).toBe(false);
  });

  test.each([
    [{ ...lite, norm_topk_prob: true }, /norm_topk_prob/],
    [{ ...lite, scoring_func: 'sigmoid' }, /scoring_func/],
    [{ ...lite, topk_method: 'noaux_tc' }, /topk_method/],
    [{ ...lite, num_experts_per_tok: 65 }, /num_experts_per_tok is 65: there are 64 experts/],
    [{ ...lite, num_experts_per_tok: null }, /num_experts_per_tok is null: needed with n_routed_experts 64/],
    [{ ...lite, q_lora_rank: undefined }, /q_lora_rank/],
    [{ ...lite, qk_rope_head_dim: 63 }, /qk_rope_head_dim/],
    [{ ...lite, topk_method: 'group_limited_greedy', n_group: 5 }, /n_group is 5: must divide 64/],
    [{ ...v3, topk_group: 9 }, /topk_group is 9: there are 8 groups/],
    [{ ...v3, topk_method: 'greedy' }, /topk_method/],
  ])('a routing that is not served is refused by name (%#)', (document, words) => {
    expect(() => parse(document)).toThrow(ModelConfigError);
    expect(() => parse(document)).toThrow(words);
  });
});
