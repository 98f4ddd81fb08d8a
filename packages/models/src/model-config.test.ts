import { expect, test } from 'vitest';
import { parseGenerationConfig } from './generation-config.ts';
import { parseModel } from './model-registry.ts';

const llama = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 1000,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  torch_dtype: 'bfloat16',
  bos_token_id: 1,
  eos_token_id: [2, 3],
};
const parse = (change: object) => parseModel({ ...llama, ...change }, 'm/config.json').config;

test('fields have transformers defaults', () => {
  expect(parse({})).toEqual({
    architecture: 'LlamaForCausalLM',
    vocabSize: 1000,
    hiddenSize: 64,
    intermediateSize: 128,
    numLayers: 4,
    numHeads: 4,
    numKVHeads: 4,
    headDim: 16,
    rmsNormEps: 1e-5,
    rope: { theta: 10000, rotaryDim: 16, scaling: { type: 'default' } },
    tieWordEmbeddings: false,
    bias: { qkv: false, o: false, mlp: false },
    headNorm: false,
    projections: 'separate',
    windows: [],
    maxPositionEmbeddings: 512,
    dtype: 'bf16',
    quantization: null,
    bosTokenId: 1,
    eosTokenIds: [2, 3],
    kvCacheLayers: Array.from({ length: 4 }, () => ({ kind: 'heads', numKVHeads: 4, headDim: 16 })),
  });
});

test('an explicit head size, key-value heads and the newer dtype field count', () => {
  expect(parse({ head_dim: 24, num_key_value_heads: 2, dtype: 'float32', eos_token_id: 2 })).toMatchObject({
    headDim: 24,
    numKVHeads: 2,
    dtype: 'f32',
    eosTokenIds: [2],
  });
  expect(parse({ torch_dtype: undefined }).dtype).toBeNull();
});

const refused: [name: string, change: object, message: RegExp][] = [
  [
    'an unknown architecture',
    { architectures: ['MambaForCausalLM'] },
    /architectures is \["MambaForCausalLM"\]; served are .*Gemma2ForCausalLM, .*LlamaForCausalLM/,
  ],
  ['a missing field', { hidden_size: undefined }, /m\/config\.json: hidden_size is missing/],
  ['a fraction', { num_hidden_layers: 1.5 }, /num_hidden_layers is 1\.5/],
  ['zero heads', { num_attention_heads: 0 }, /num_attention_heads is 0/],
  ['a size beyond bounds', { vocab_size: 2 ** 40 }, /vocab_size is 1099511627776/],
  [
    'heads that do not divide',
    { num_key_value_heads: 3 },
    /num_key_value_heads is 3: must divide num_attention_heads, which is 4/,
  ],
  ['an underivable head size', { hidden_size: 66 }, /hidden_size is 66: not a multiple/],
  ['an odd head size', { head_dim: 15 }, /head_dim is 15/],
  ['another activation', { hidden_act: 'gelu' }, /hidden_act is "gelu"/],
  [
    'quantization of another kind',
    { quantization_config: { quant_method: 'hqq' } },
    /quantization_config\.quant_method is "hqq": served are awq, compressed-tensors, fp8, gptq, and GGUF files/,
  ],
  ['a strange dtype', { torch_dtype: 'int8' }, /dtype is "int8": served are float32/],
  [
    'a strange rope',
    { rope_scaling: { type: 'spiral' } },
    /rope_scaling\.rope_type is "spiral"; served are default, linear/,
  ],
  ['a rope without its factor', { rope_scaling: { type: 'linear' } }, /rope_scaling\.factor is missing/],
  [
    'a rope factor beyond bounds',
    { rope_parameters: { rope_type: 'linear', factor: -1 } },
    /rope_parameters\.factor is -1/,
  ],
  ['a partial rope', { partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0\.5/],
  [
    'a window where layers need one',
    { architectures: ['Qwen2ForCausalLM'], layer_types: Array(4).fill('sliding_attention') },
    /sliding_window is null: layer 0 needs one/,
  ],
  [
    'layer types of another depth',
    { architectures: ['Gemma2ForCausalLM'], layer_types: ['full_attention'] },
    /layer_types is \["full_attention"\]: num_hidden_layers is 4/,
  ],
  [
    'longrope factors of another width',
    {
      architectures: ['Phi3ForCausalLM'],
      partial_rotary_factor: 0.5,
      rope_scaling: { type: 'longrope', short_factor: [1, 1, 1, 1], long_factor: [1] },
    },
    /long_factor is 1: has so many entries; 4 are needed/,
  ],
  [
    'rope tables by layer where a family has one',
    { rope_parameters: { full_attention: { rope_theta: 1e6 } } },
    /rope_parameters\.full_attention is .*tables that differ by layer are not served/,
  ],
  [
    'a cap that Gemma 3 does not have',
    { architectures: ['Gemma3ForCausalLM'], attn_logit_softcapping: 50 },
    /attn_logit_softcapping is 50/,
  ],
];

test.each(refused)('%s is refused by name', (_, change, message) => {
  expect(() => parse(change)).toThrow(
    expect.objectContaining({ code: 'ERR_MODEL_CONFIG', message: expect.stringMatching(message) }),
  );
});

test('windows follow layer_types, else the rule of the family', () => {
  const windows = (change: object): unknown => Reflect.get(parse({ num_hidden_layers: 7, ...change }), 'windows');
  const qwen = { architectures: ['Qwen2ForCausalLM'], use_sliding_window: true, sliding_window: 8 };
  expect(windows({ ...qwen, max_window_layers: 5 })).toEqual([null, null, null, null, null, 8, 8]);
  expect(windows({ ...qwen, use_sliding_window: false, max_window_layers: 0 })).toEqual(Array(7).fill(null));
  expect(windows({ architectures: ['MistralForCausalLM'] })).toEqual(Array(7).fill(4096));
  expect(windows({ architectures: ['MistralForCausalLM'], sliding_window: null })).toEqual(Array(7).fill(null));
  const gemma = { sliding_window: 8, head_dim: 16 };
  expect(windows({ ...gemma, architectures: ['Gemma2ForCausalLM'] })).toEqual([8, null, 8, null, 8, null, 8]);
  expect(windows({ ...gemma, architectures: ['Gemma3ForCausalLM'] })).toEqual([8, 8, 8, 8, 8, null, 8]);
  const types = ['full_attention', ...Array<string>(6).fill('sliding_attention')];
  expect(windows({ ...gemma, architectures: ['Gemma3ForCausalLM'], layer_types: types })).toEqual([
    null,
    ...Array<number>(6).fill(8),
  ]);
});

test('generation defaults are read, and bounds hold', () => {
  expect(parseGenerationConfig({ eos_token_id: [5, 6], temperature: 0.6, top_p: 0.9, top_k: -1 }, 'g.json')).toEqual({
    eosTokenIds: [5, 6],
    temperature: 0.6,
    topK: 0,
    topP: 0.9,
    minP: null,
    repetitionPenalty: null,
    maxNewTokens: null,
  });
  expect(() => parseGenerationConfig({ top_p: 2 }, 'g.json')).toThrow(/g\.json: top_p is 2/);
});
