import type { TensorDtype, TensorSource } from '@skein/native';
import { expect, test } from 'vitest';
import { checkCheckpoint } from './checkpoint-check.ts';
import { checkpointParameters } from './checkpoint-parameters.ts';
import { parseModel } from './model-registry.ts';
import { ProgramRecorder } from './program-recorder.ts';
import { wholeModel } from './model.ts';
import type { QuantizationOption } from './quantization/quantization-option.ts';

const llama = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 64,
};
const SHAPES: Readonly<Record<string, readonly [number, number]>> = {
  'self_attn.q_proj': [32, 32],
  'self_attn.k_proj': [32, 32],
  'self_attn.v_proj': [32, 32],
  'self_attn.o_proj': [32, 32],
  'mlp.gate_proj': [48, 32],
  'mlp.up_proj': [48, 32],
  'mlp.down_proj': [32, 48],
};

type Stored = readonly [dtype: TensorDtype, shape: readonly number[]];
type Layout = (rows: number, cols: number) => Record<string, Stored>;

const gptq: Layout = (n, k) => ({
  qweight: ['i32', [k / 8, n]],
  qzeros: ['i32', [k / 16, n / 8]],
  scales: ['f16', [k / 16, n]],
  g_idx: ['i32', [k]],
});
const plain: Layout = (n, k) => ({ weight: ['bf16', [n, k]] });

function checkpoint(layout: Layout, change: Record<string, Stored | null> = {}): Map<string, TensorSource> {
  const stored: Record<string, Stored | null> = {
    'model.embed_tokens.weight': ['bf16', [64, 32]],
    'model.norm.weight': ['bf16', [32]],
    'lm_head.weight': ['bf16', [64, 32]],
    'model.layers.0.input_layernorm.weight': ['bf16', [32]],
    'model.layers.0.post_attention_layernorm.weight': ['bf16', [32]],
  };
  for (const [module, [n, k]] of Object.entries(SHAPES))
    for (const [part, tensor] of Object.entries(layout(n, k))) stored[`model.layers.0.${module}.${part}`] = tensor;
  const tensors = new Map<string, TensorSource>();
  for (const [name, tensor] of Object.entries({ ...stored, ...change })) {
    if (tensor === null) continue;
    const [dtype, shape] = tensor;
    tensors.set(name, { name, file: 'model.safetensors', offsetBytes: 0, sizeBytes: 0, dtype, shape });
  }
  return tensors;
}

const GPTQ = { quant_method: 'gptq', bits: 4, group_size: 16, desc_act: true };

function record(
  quantization_config: object | null,
  tensors: ReadonlyMap<string, TensorSource>,
  quantization: QuantizationOption = 'none',
) {
  const model = parseModel({ ...llama, quantization_config }, 'config.json');
  const unneeded = checkCheckpoint({ model, tensors, quantization });
  const recorder = new ProgramRecorder(checkpointParameters({ model, tensors, quantization }));
  model.record(recorder, wholeModel(model, 64));
  return { unneeded, weights: new Map(recorder.weights.map((weight) => [weight.name, weight])) };
}

test('a quantized module is its tensors, and everything else is plain', () => {
  const { unneeded, weights } = record(GPTQ, checkpoint(gptq));
  expect(unneeded).toEqual([]);
  expect(weights.get('model.layers.0.mlp.down_proj.weight')).toMatchObject({
    shape: [32, 48],
    stored: { format: 'gptq', bits: 4, groupSize: 16, zeroOffset: 1, qzeros: { shape: [3, 4] } },
    quantize: null,
  });
  expect(weights.get('lm_head.weight')?.stored.format).toBe('plain');
});

test('a module that was left unquantized is plain', () => {
  const name = 'model.layers.0.self_attn.v_proj';
  const parts = {
    [`${name}.qweight`]: null,
    [`${name}.qzeros`]: null,
    [`${name}.scales`]: null,
    [`${name}.g_idx`]: null,
  };
  const { weights } = record(GPTQ, checkpoint(gptq, { ...parts, [`${name}.weight`]: ['bf16', [32, 32]] }));
  expect(weights.get(`${name}.weight`)?.stored.format).toBe('plain');
});

test('scales of a cache of 8 bits are not needed', () => {
  const change = {
    'model.layers.0.self_attn.k_scale': ['f32', [1]],
    'model.layers.0.self_attn.v_proj.output_scale': ['f32', [1]],
  } as const;
  expect(record(GPTQ, checkpoint(gptq, change)).unneeded).toEqual(Object.keys(change));
  expect(() => record(null, checkpoint(plain, change))).toThrow(/2 tensors that LlamaForCausalLM does not use/);
});

const DOWN = 'model.layers.0.mlp.down_proj';
test.each([
  [
    'a missing part',
    GPTQ,
    checkpoint(gptq, { [`${DOWN}.scales`]: null }),
    /lacks tensor .*down_proj\.scales \[3, 32\]/,
  ],
  [
    'a part of another shape',
    GPTQ,
    checkpoint(gptq, { [`${DOWN}.qweight`]: ['i32', [48, 32]] }),
    /down_proj\.qweight has shape \[48, 32\]; config\.json calls for \[6, 32\]/,
  ],
  [
    'a part of another type',
    GPTQ,
    checkpoint(gptq, { [`${DOWN}.scales`]: ['i32', [3, 32]] }),
    /down_proj\.scales has type i32; .* calls for f32, f16, bf16/,
  ],
  ['a part too many', GPTQ, checkpoint(gptq, { [`${DOWN}.zeros`]: ['i32', [1]] }), /does not use, first .*zeros/],
  [
    'codes without a config',
    null,
    checkpoint((n, k) => ({ weight: ['f8e4m3', [n, k]] })),
    /f8e4m3, and config\.json has no/,
  ],
  ['tensors without a config', null, checkpoint(gptq), /lacks tensor .*q_proj\.weight \[32, 32\]/],
])('%s is refused by name', (_, config, tensors, message) => {
  expect(() => record(config, tensors)).toThrow(
    expect.objectContaining({ code: 'ERR_CHECKPOINT', message: expect.stringMatching(message) }),
  );
});

test.each([
  ['int8', 'int8', 'int8'],
  ['int4', 'int4', 'int8'],
  ['int4-g128', 'int4g128', 'int8'],
  ['fp8', 'fp8', null],
] as const)('--quantization %s takes matrices to %s, embedding and head to %s', (option, matrix, vocabulary) => {
  const { weights } = record(null, checkpoint(plain), option);
  expect(weights.get(`${DOWN}.weight`)?.quantize).toBe(matrix);
  expect(weights.get('model.embed_tokens.weight')?.quantize).toBe(vocabulary);
  expect(weights.get('lm_head.weight')?.quantize).toBe(vocabulary);
  expect(weights.get('model.norm.weight')?.quantize).toBeNull();
});

test('what --quantization says of a quantized checkpoint has to be so', () => {
  expect(record(GPTQ, checkpoint(gptq), 'gptq').weights.get(`${DOWN}.weight`)?.quantize).toBeNull();
  const disagreeing = [
    [GPTQ, 'awq', '--quantization is awq, and config.json has quant_method gptq; leave it out, or give gptq'],
    [GPTQ, 'int4', '--quantization is int4, and config.json has quant_method gptq'],
    [null, 'gptq', '--quantization is gptq, and config.json has no quantization_config; leave it out'],
  ] as const;
  for (const [config, option, message] of disagreeing)
    expect(() => record(config, checkpoint(config ? gptq : plain), option)).toThrow(message);
});
