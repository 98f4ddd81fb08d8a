import { expect, test } from 'vitest';
import { parseQuantization } from './checkpoint-quantization.ts';

const FILE = 'm/config.json';
const parse = (value: unknown) => parseQuantization(value, FILE);

const weights = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 128 };
const compressed = (change: object, group: object = {}) => ({
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  config_groups: { group_0: { targets: ['Linear'], weights, ...group } },
  ignore: ['lm_head'],
  ...change,
});
const gptq = { quant_method: 'gptq', bits: 4, group_size: 128, desc_act: true, sym: true };
const awq = { quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, version: 'gemm' };
const fp8 = { quant_method: 'fp8', activation_scheme: 'dynamic', weight_block_size: [128, 128] };

test('what says nothing is not quantized', () => {
  expect(parse(undefined)).toBeNull();
  expect(parse(null)).toBeNull();
});

test('GPTQ has bits, groups and zero points of two kinds', () => {
  expect(parse(gptq)).toEqual({ method: 'gptq', bits: 4, groupSize: 128, zeroOffset: 1 });
  expect(parse({ ...gptq, bits: 8, group_size: -1, checkpoint_format: 'gptq_v2' })).toEqual({
    method: 'gptq',
    bits: 8,
    groupSize: null,
    zeroOffset: 0,
  });
  expect(parse({ ...gptq, dynamic: { '-:.*mlp.gate': {} } })).toMatchObject({ bits: 4 });
});

test('AWQ is read in either spelling', () => {
  expect(parse(awq)).toEqual({ method: 'awq', groupSize: 128 });
  expect(parse({ quant_method: 'awq', w_bit: 4, q_group_size: 64, version: 'GEMM' })).toEqual({
    method: 'awq',
    groupSize: 64,
  });
});

test('fp8 has blocks or none', () => {
  expect(parse(fp8)).toEqual({ method: 'fp8', blockShape: [128, 128] });
  expect(parse({ quant_method: 'fp8', activation_scheme: 'static' })).toEqual({ method: 'fp8', blockShape: null });
});

test.each([
  [{}, {}, { kind: 'packed', bits: 4, groupSize: 128, symmetric: true, byGroup: false }],
  [{}, { weights: { ...weights, actorder: 'dynamic' } }, { kind: 'packed', byGroup: true }],
  [{}, { weights: { ...weights, actorder: 'weight' } }, { kind: 'packed', byGroup: false }],
  [{}, { weights: { num_bits: 8, group_size: -1 } }, { kind: 'packed', bits: 8, groupSize: null }],
  [
    { format: 'int-quantized' },
    {
      weights: { num_bits: 8, strategy: 'channel' },
      input_activations: { num_bits: 8, type: 'int', dynamic: true, strategy: 'token' },
    },
    { kind: 'int8', groupSize: null, isPerTensor: false, symmetric: true, rowScaledActivations: true },
  ],
  [{ format: 'naive-quantized' }, { weights: { num_bits: 8 } }, { kind: 'int8', isPerTensor: true }],
  [
    { format: 'float-quantized' },
    {
      weights: { num_bits: 8, type: 'float', strategy: 'block', block_structure: '128x64' },
      input_activations: { num_bits: 8, type: 'float', dynamic: true, strategy: 'group' },
    },
    { kind: 'fp8', blockShape: [128, 64] },
  ],
  [
    { format: 'mixed-precision', kv_cache_scheme: { num_bits: 8, type: 'float' } },
    { format: 'pack-quantized' },
    { kind: 'packed' },
  ],
])('compressed-tensors %j, group %j', (change, group, scheme) => {
  expect(parse(compressed(change, group))).toMatchObject({
    groups: [{ targets: ['Linear'], scheme }],
    ignore: ['lm_head'],
  });
});

test.each([
  [
    { quant_method: 'bitsandbytes', load_in_4bit: true },
    /quant_method is "bitsandbytes": .*--quantization int8 or int4/,
  ],
  [{ quant_method: 'modelopt' }, /quant_method is "modelopt": served are awq, compressed-tensors, fp8, gptq/],
  ['int4', /quantization_config is "int4"/],
  [{ ...gptq, bits: 3 }, /quantization_config\.bits is 3: served are 4 and 8/],
  [{ ...gptq, group_size: 0 }, /group_size is 0/],
  [{ ...gptq, checkpoint_format: 'marlin' }, /checkpoint_format is "marlin": served are gptq and gptq_v2/],
  [{ ...gptq, dynamic: { '+:.*down_proj': { bits: 8 } } }, /modules with settings of their own are not served/],
  [{ ...awq, bits: 8 }, /bits is 8: only 4 is served/],
  [{ ...awq, version: 'gemv_fast' }, /version is "gemv_fast": only gemm is served/],
  [{ ...awq, zero_point: false }, /zero_point is false/],
  [{ ...fp8, fmt: 'e5m2' }, /fmt is "e5m2": only e4m3 is served/],
  [{ ...fp8, weight_block_size: [128] }, /weight_block_size/],
  [compressed({ format: 'marlin-24' }), /format is "marlin-24": served are pack-quantized, int-quantized/],
  [compressed({ format: 'mixed-precision' }), /config_groups\.group_0\.format is missing: .*needs one/],
  [compressed({ sparsity_config: { format: 'sparse-24-bitmask' } }), /sparsity_config\.format.*sparse weights/],
  [compressed({ transform_config: { config_groups: {} } }), /transform_config/],
  [compressed({ ignore: ['re:('] }), /ignore\.0 is "re:\(": not a regular expression/],
  [compressed({}, { weights: { ...weights, num_bits: 3 } }), /group_0\.weights\.num_bits is 3: served are 4 and 8/],
  [compressed({}, { weights: { ...weights, group_size: null } }), /weights\.group_size is null: needed/],
  [compressed({}, { weights: { ...weights, type: 'float' } }), /weights\.type is "float": format pack-quantized/],
  [
    compressed({}, { input_activations: { num_bits: 8, dynamic: true, strategy: 'token' } }),
    /input_activations is .*: served for pack-quantized is null/,
  ],
  [
    compressed(
      { format: 'int-quantized' },
      { weights: { num_bits: 8 }, input_activations: { num_bits: 8, strategy: 'tensor' } },
    ),
    /input_activations is .*dynamic true and strategy token/,
  ],
  [compressed({}, { output_activations: { num_bits: 8 } }), /output_activations/],
])('refuses %j', (value, message) => {
  expect(() => parse(value)).toThrow(
    expect.objectContaining({ code: 'ERR_MODEL_CONFIG', message: expect.stringMatching(message) }),
  );
});
