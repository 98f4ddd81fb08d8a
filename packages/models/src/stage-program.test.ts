import type { Op, ProgramSpec, TensorSource } from '@skein/native';
import { expect, test } from 'vitest';
import { resolveDtype, resolveKVCacheDtype } from './dtype.ts';
import { parseModel } from './model-registry.ts';
import { stageLayers } from './stage-layers.ts';
import { buildStageProgram } from './stage-program.ts';
import { storedTensors } from './stored-weight.ts';

const document = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};
const limits = { maxTokens: 32, maxSeqs: 4, maxRows: 4, maxModelLen: 64, maxLogprobs: 0, numSlots: 4 };
const kvCache = { numBlocks: 8, blockSize: 16, dtype: 'f32' } as const;

function tensors(change: Record<string, number[] | null> = {}): Map<string, TensorSource> {
  const shapes: Record<string, number[] | null> = {
    'model.embed_tokens.weight': [32, 16],
    'model.norm.weight': [16],
    'lm_head.weight': [32, 16],
  };
  for (let i = 0; i < 4; i++) {
    Object.assign(shapes, {
      [`model.layers.${i}.input_layernorm.weight`]: [16],
      [`model.layers.${i}.self_attn.q_proj.weight`]: [16, 16],
      [`model.layers.${i}.self_attn.k_proj.weight`]: [8, 16],
      [`model.layers.${i}.self_attn.v_proj.weight`]: [8, 16],
      [`model.layers.${i}.self_attn.o_proj.weight`]: [16, 16],
      [`model.layers.${i}.post_attention_layernorm.weight`]: [16],
      [`model.layers.${i}.mlp.gate_proj.weight`]: [24, 16],
      [`model.layers.${i}.mlp.up_proj.weight`]: [24, 16],
      [`model.layers.${i}.mlp.down_proj.weight`]: [16, 24],
    });
  }
  const found = new Map<string, TensorSource>();
  for (const [name, shape] of Object.entries({ ...shapes, ...change })) {
    if (shape === null) continue;
    found.set(name, {
      name,
      file: 'model.safetensors',
      offsetBytes: 0,
      sizeBytes: 2 * shape.reduce((a, b) => a * b, 1),
      dtype: 'bf16',
      shape,
    });
  }
  return found;
}

function build(
  options: {
    stages?: number;
    partition?: readonly number[];
    stage?: number;
    config?: object;
    tensors?: Map<string, TensorSource>;
  } = {},
): ProgramSpec {
  const { stages = 1, stage = 0, partition = null } = options;
  const layers = stageLayers(4, stages, partition)[stage] ?? [0, 0];
  const model = parseModel({ ...document, ...options.config }, 'config.json');
  return buildStageProgram({ model, tensors: options.tensors ?? tensors(), stages, stage, layers, limits, kvCache });
}

const names = (spec: ProgramSpec) => spec.ops.map((op) => op.op).join(' ');
const ATTENTION = 'rmsNorm linear linear linear rope rope attention linear add';
const FEED_FORWARD = 'rmsNorm linear linear siluMul linear add';
const LAYER = `${ATTENTION} ${FEED_FORWARD}`;
const peers = (ops: readonly Op[]) => ops.flatMap((op) => ('peer' in op ? [`${op.op} ${op.peer}`] : []));

test('one stage runs from embedding to sampling without channels', () => {
  const spec = build();
  expect(names(spec)).toBe(`embed ${LAYER} ${LAYER} ${LAYER} ${LAYER} gatherRows rmsNorm logits sample`);
  expect(spec.weights).toHaveLength(3 + 4 * 9);
  expect(spec.kvCache.layers).toEqual(Array.from({ length: 4 }, () => ({ kind: 'heads', numKVHeads: 2, headDim: 4 })));
});

test('four stages pass the residual on and the sampled tokens back', () => {
  const stages = [0, 1, 2, 3].map((stage) => build({ stages: 4, stage }));
  expect(stages.map(names)).toEqual([
    `recvTokens embed ${LAYER} send`,
    `recv ${LAYER} send`,
    `recv ${LAYER} send`,
    `recv ${LAYER} gatherRows rmsNorm logits sample sendTokens`,
  ]);
  expect(stages.map((s) => peers(s.ops))).toEqual([
    ['recvTokens stage-3', 'send stage-1'],
    ['recv stage-0', 'send stage-2'],
    ['recv stage-1', 'send stage-3'],
    ['recv stage-2', 'sendTokens stage-0'],
  ]);
  const loaded = stages.flatMap((s) => s.weights.map((w) => w.name));
  expect(loaded).toHaveLength(tensors().size);
  expect(new Set(loaded)).toEqual(new Set(tensors().keys()));
  expect(stages.map((s) => s.ops.flatMap((op) => (op.op === 'attention' ? [op.cacheLayer] : [])))).toEqual([
    [0],
    [0],
    [0],
    [0],
  ]);
});

test('a stage may end between the attention of a layer and its feed-forward', () => {
  const partition = [1.5, 0.5, 0.5, 1.5];
  const stages = [0, 1, 2, 3].map((stage) => build({ stages: 4, partition, stage }));
  expect(stages.map(names)).toEqual([
    `recvTokens embed ${LAYER} ${ATTENTION} send`,
    `recv ${FEED_FORWARD} send`,
    `recv ${ATTENTION} send`,
    `recv ${FEED_FORWARD} ${LAYER} gatherRows rmsNorm logits sample sendTokens`,
  ]);
  const loaded = stages.flatMap((s) => s.weights.map((w) => w.name));
  expect(loaded).toHaveLength(tensors().size);
  expect(new Set(loaded)).toEqual(new Set(tensors().keys()));
  expect(stages.map((s) => s.kvCache.layers.length)).toEqual([2, 0, 1, 1]);
  expect(stages.map((s) => s.ops.flatMap((op) => (op.op === 'attention' ? [op.cacheLayer] : [])))).toEqual([
    [0, 1],
    [],
    [0],
    [0],
  ]);
});

test('a model length beyond the position limit is refused', () => {
  expect(() => build({ config: { max_position_embeddings: 63 } })).toThrow(
    expect.objectContaining({
      code: 'ERR_MODEL_CONFIG',
      message: expect.stringMatching(/64 exceeds max_position_embeddings 63/),
    }),
  );
});

test('values are written once, before they are read', () => {
  const written = new Set<number>();
  for (const op of build().ops) {
    for (const [field, value] of Object.entries(op)) {
      if (['x', 'q', 'k', 'v', 'a', 'b', 'gate', 'up', 'logits'].includes(field)) expect(written).toContain(value);
    }
    if ('out' in op) {
      expect(written).not.toContain(op.out);
      written.add(op.out);
    }
  }
});

test('tied embeddings are loaded by the first and the last stage, and a stored head is left alone', () => {
  const config = { tie_word_embeddings: true };
  for (const own of [tensors(), tensors({ 'lm_head.weight': null })]) {
    const [first, last] = [0, 1].map((stage) =>
      build({ stages: 2, stage, config, tensors: own }).weights.map((w) => w.name),
    );
    expect(first).toContain('model.embed_tokens.weight');
    expect(last).toContain('model.embed_tokens.weight');
    expect(last).not.toContain('lm_head.weight');
  }
});

test('biases are recorded where the config has them', () => {
  const bias: Record<string, number[]> = {};
  for (let i = 0; i < 4; i++) {
    for (const [part, width] of [
      ['q', 16],
      ['k', 8],
      ['v', 8],
      ['o', 16],
    ] as const)
      bias[`model.layers.${i}.self_attn.${part}_proj.bias`] = [width];
  }
  const spec = build({ config: { attention_bias: true }, tensors: tensors(bias) });
  expect(spec.ops.filter((op) => op.op === 'linear' && op.bias !== null)).toHaveLength(16);
  expect(() => build({ tensors: tensors(bias) })).toThrow(
    /16 tensors that LlamaForCausalLM does not use, first model\.layers\.0\.self_attn\.q_proj\.bias/,
  );
});

test('a fused weight is used by its rows, in place', () => {
  const fused: Record<string, number[] | null> = {};
  for (let i = 0; i < 4; i++) {
    for (const part of ['q', 'k', 'v']) fused[`model.layers.${i}.self_attn.${part}_proj.weight`] = null;
    for (const part of ['gate', 'up']) fused[`model.layers.${i}.mlp.${part}_proj.weight`] = null;
    fused[`model.layers.${i}.self_attn.qkv_proj.weight`] = [32, 16];
    fused[`model.layers.${i}.mlp.gate_up_proj.weight`] = [48, 16];
  }
  const spec = build({ config: { architectures: ['Phi3ForCausalLM'] }, tensors: tensors(fused) });
  const rows = spec.weights
    .filter((w) => w.name.startsWith('model.layers.2.self_attn.qkv'))
    .map(({ name, firstRow, shape, stored }) => ({
      name: name.slice(-6),
      firstRow,
      shape,
      of: storedTensors(stored).map((tensor) => tensor.shape),
    }));
  expect(rows).toEqual([
    { name: '[0:16]', firstRow: 0, shape: [16, 16], of: [[32, 16]] },
    { name: '16:24]', firstRow: 16, shape: [8, 16], of: [[32, 16]] },
    { name: '24:32]', firstRow: 24, shape: [8, 16], of: [[32, 16]] },
  ]);
  expect(names(spec)).toBe(names(build()));
});

test('rotary buffers of older checkpoints are not needed', () => {
  expect(() => build({ tensors: tensors({ 'model.layers.0.self_attn.rotary_emb.inv_freq': [2] }) })).not.toThrow();
});

test.each([
  [
    'missing',
    { 'model.layers.3.mlp.up_proj.weight': null },
    /lacks tensor model\.layers\.3\.mlp\.up_proj\.weight \[24, 16\]/,
  ],
  ['ill-shaped', { 'model.norm.weight': [17] }, /model\.norm\.weight has shape \[17\]; config\.json calls for \[16\]/],
  [
    'superfluous',
    { 'model.layers.4.mlp.up_proj.weight': [24, 16] },
    /1 tensors that LlamaForCausalLM does not use, first model\.layers\.4/,
  ],
])('a %s tensor fails by name, on any stage', (_, change, message) => {
  expect(() => build({ stages: 4, stage: 1, tensors: tensors(change as Record<string, number[] | null>) })).toThrow(
    expect.objectContaining({ code: 'ERR_CHECKPOINT', message: expect.stringMatching(message) }),
  );
});

test("the dtype is the option, else the config, else that of most weights, and so is the cache's, unless it is quantized", () => {
  const { config } = parseModel({ ...document, torch_dtype: 'float32' }, 'config.json');
  expect(resolveDtype('bfloat16', config, tensors())).toBe('bf16');
  expect(resolveDtype('half', config, tensors())).toBe('f16');
  expect(resolveDtype('auto', config, tensors())).toBe('f32');
  expect(resolveDtype('auto', { ...config, dtype: null }, tensors())).toBe('bf16');
  expect(resolveKVCacheDtype('auto', config, tensors())).toBe('f32');
  expect(resolveKVCacheDtype('fp8', config, tensors())).toBe('f8e4m3');
  expect(resolveKVCacheDtype('int8', config, tensors())).toBe('i8');
});
