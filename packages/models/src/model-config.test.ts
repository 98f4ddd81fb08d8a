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
    rope: { theta: 10000, scaling: { type: 'default' } },
    tieWordEmbeddings: false,
    attentionBias: false,
    mlpBias: false,
    maxPositionEmbeddings: 512,
    dtype: 'bf16',
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
    /architectures is \["MambaForCausalLM"\]; served are LlamaForCausalLM/,
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
  ['quantization', { quantization_config: { quant_method: 'awq' } }, /quantized checkpoints are not served/],
  ['a strange dtype', { torch_dtype: 'int8' }, /dtype is "int8": served are float32/],
  [
    'a strange rope',
    { rope_scaling: { type: 'longrope' } },
    /rope_scaling\.rope_type is "longrope"; served are default, linear/,
  ],
  ['a rope without its factor', { rope_scaling: { type: 'linear' } }, /rope_scaling\.factor is missing/],
  [
    'a rope factor beyond bounds',
    { rope_parameters: { rope_type: 'linear', factor: -1 } },
    /rope_parameters\.factor is -1/,
  ],
  ['a partial rope', { partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0\.5/],
];

test.each(refused)('%s is refused by name', (_, change, message) => {
  expect(() => parse(change)).toThrow(
    expect.objectContaining({ code: 'ERR_MODEL_CONFIG', message: expect.stringMatching(message) }),
  );
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
