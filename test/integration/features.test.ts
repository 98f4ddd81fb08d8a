import { expect, test } from 'vitest';
import { relativeDeviation } from './comparison.ts';
import { continued, Driver, whole } from './driver.ts';
import { readFixture, stageSpecs } from './fixture.ts';
import { openInterpreted } from './pipeline.ts';

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
])('%s with %j is not what transformers computed', async (name, change) => {
  const deviationOf = async (changed: object): Promise<number> => {
    const fixture = await readFixture(name, changed);
    const longest = { ...fixture, cases: fixture.cases.slice(-1).map(continued) };
    const driver = new Driver(openInterpreted(stageSpecs(fixture, 1, 'f32')), fixture.model.config.vocabSize);
    return relativeDeviation(longest, await driver.generate(longest.cases, whole));
  };
  expect(await deviationOf({})).toBeLessThanOrEqual(1e-4);
  expect(await deviationOf(change)).toBeGreaterThan(1e-3);
});
