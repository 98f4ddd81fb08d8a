import { expect, test } from 'vitest';
import { relativeDeviation } from './comparison.ts';
import { continued, Driver, whole } from './driver.ts';
import { readFixture, stageSpecs } from './fixture.ts';
import { openInterpreted } from '../support/pipeline.ts';

const PHI3_ROPE = {
  rope_scaling: undefined,
  rope_parameters: {
    rope_type: 'longrope',
    rope_theta: 10000,
    partial_rotary_factor: 0.5,
    short_factor: [1, 1.1, 1.3, 1.5],
    long_factor: [1.2, 2.5, 7, 19],
  },
};

const YARN = { type: 'yarn', factor: 4, original_max_position_embeddings: 64, beta_fast: 32, beta_slow: 1 };

// What a fixture cannot tell apart it does not test: with any one of its features changed, the logits move far away.
test.each([
  ['mistral/window-24', { sliding_window: 25 }],
  ['mistral/window-24', { sliding_window: null }],
  ['qwen2/late-windows', { sliding_window: 19 }],
  ['qwen2/late-windows', { layer_types: null, max_window_layers: 3 }],
  ['qwen3/head-norms', { rms_norm_eps: 0.05 }],
  ['qwen3/biases-windows', { layer_types: Array(4).fill('full_attention') }],
  ['gemma2/caps-windows', { attn_logit_softcapping: 2.2 }],
  ['gemma2/caps-windows', { final_logit_softcapping: null }],
  ['gemma2/caps-windows', { query_pre_attn_scalar: 22 }],
  ['gemma2/caps-windows', { layer_types: Array(4).fill('sliding_attention') }],
  ['gemma2/no-caps-untied', { attn_logit_softcapping: 50 }],
  ['gemma3/local-rope-windows', { rope_local_base_freq: 9000 }],
  ['gemma3/local-rope-windows', { rope_theta: 9e5 }],
  ['gemma3/linear-rope-pattern-3', { rope_scaling: null }],
  ['phi3/longrope-short-partial', { max_position_embeddings: 512 }],
  ['phi3/longrope-short-partial', { sliding_window: null }],
  ['phi3/longrope-long', { original_max_position_embeddings: 256 }],
  ['mixtral/6-experts-top3-head12-window-bfloat16', { sliding_window: null }],
  ['mixtral/4-experts', { num_experts_per_tok: 3 }],
  ['qwen2-moe/every-layer', { norm_topk_prob: true }],
  ['qwen3-moe/one-dense-layer-window-bfloat16', { norm_topk_prob: false }],
  ['qwen3-moe/one-dense-layer-window-bfloat16', { sliding_window: 21 }],
  ['deepseek-v2/lite-greedy', { routed_scaling_factor: 1.1 }],
  ['deepseek-v2/grouped-yarn', { topk_method: 'greedy' }],
  ['deepseek-v2/grouped-yarn', { topk_group: 3 }],
  ['deepseek-v2/grouped-yarn', { rope_scaling: { ...YARN, mscale: 0.707, mscale_all_dim: 0 } }],
  ['deepseek-v3/grouped-yarn', { rope_scaling: { ...YARN, mscale: 0.8, mscale_all_dim: 1 } }],
  ['deepseek-v3/grouped-yarn', { topk_group: 3 }],
  ['deepseek-v3/grouped-yarn', { norm_topk_prob: false }],
  ['deepseek-v3/half-split-bfloat16', { rope_interleave: true }],
])('%s with %j is not what transformers computed', async (name, change) => {
  const deviationOf = async (changed: object): Promise<number> => {
    const fixture = await readFixture(name, changed);
    const longest = { ...fixture, cases: fixture.cases.slice(-1).map(continued) };
    const driver = new Driver(
      openInterpreted(stageSpecs(fixture, { stages: 1, dtype: 'f32' })),
      fixture.model.config.vocabSize,
    );
    return relativeDeviation(longest, await driver.generate(longest.cases, whole));
  };
  expect(await deviationOf({})).toBeLessThanOrEqual(1e-4);
  expect(await deviationOf(change)).toBeGreaterThan(1e-3);
});

test.each([
  [
    'gemma3/local-rope-windows',
    {
      rope_theta: undefined,
      rope_scaling: undefined,
      rope_local_base_freq: undefined,
      rope_parameters: {
        full_attention: { rope_type: 'default', rope_theta: 1e6 },
        sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
      },
    },
  ],
  ['gemma3/local-rope-windows', { layer_types: null, sliding_window_pattern: 6 }],
  ['gemma2/caps-windows', { layer_types: null }],
  ['qwen2/late-windows', { layer_types: null }],
  ['phi3/longrope-short-partial', { rope_theta: undefined, partial_rotary_factor: undefined, ...PHI3_ROPE }],
])('%s may be written as %j', async (name, change) => {
  const operations = async (changed: object) =>
    stageSpecs(await readFixture(name, changed), { stages: 1, dtype: 'f32' })[0]?.ops;
  expect(await operations(change)).toEqual(await operations({}));
});
