import { expect, test } from 'vitest';
import { parseRopeConfig } from './rope-config.ts';
import { ropeFrequencies } from './rope-frequencies.ts';

// Printed by transformers 4.57.1 (ROPE_INIT_FUNCTIONS) to 9 digits, which identify an f32.
const longrope = {
  original_max_position_embeddings: 1024,
  partial_rotary_factor: 0.75,
  rope_scaling: {
    type: 'longrope',
    short_factor: [1, 1.02, 1.05, 1.1, 1.2, 1.3, 1.45, 1.6, 1.7, 1.8, 1.9, 2],
    long_factor: [1.1, 1.5, 2, 2.9, 4.1, 6, 9.5, 14, 21.5, 30, 41, 60],
  },
};
const tables = [
  {
    name: 'longrope within the original context',
    config: longrope,
    shape: { headDim: 32, maxPositionEmbeddings: 8192, maxModelLen: 1024 },
    attentionFactor: 1.140175425099138,
    table: [
      1.0, 0.45505774, 0.205184266, 0.0909090936, 0.0386799015, 0.016572576, 0.0068965517, 0.00290099345, 0.00126731431,
      0.000555555569, 0.000244294206, 0.000107721709,
    ],
  },
  {
    name: 'longrope beyond it',
    config: longrope,
    shape: { headDim: 32, maxPositionEmbeddings: 8192, maxModelLen: 1025 },
    attentionFactor: 1.140175425099138,
    table: [
      0.909090877, 0.309439272, 0.107721724, 0.0344827585, 0.0113209467, 0.0035907249, 0.00105263153, 0.000331542135,
      0.000100206242, 3.33333337e-5, 1.13209508e-5, 3.59072396e-6,
    ],
  },
  {
    name: 'default',
    config: { rope_theta: 500000 },
    shape: { headDim: 24, maxPositionEmbeddings: 2048 },
    attentionFactor: 1,
    table: [
      1, 0.335031629, 0.112246193, 0.0376060307, 0.0125992084, 0.00422113482, 0.00141421345, 0.000473806402,
      0.000158740062, 5.31829573e-5, 1.78179798e-5, 5.96958353e-6,
    ],
  },
  {
    name: 'linear, older spelling',
    config: { rope_theta: 10000, rope_scaling: { type: 'linear', factor: 3 } },
    shape: { headDim: 16, maxPositionEmbeddings: 2048 },
    attentionFactor: 1,
    table: [
      0.333333343, 0.105409257, 0.0333333351, 0.0105409259, 0.00333333318, 0.00105409266, 0.000333333359,
      0.000105409265,
    ],
  },
  {
    name: 'dynamic within max_position_embeddings',
    config: { rope_scaling: { rope_type: 'dynamic', factor: 1.7 } },
    shape: { headDim: 16, maxPositionEmbeddings: 2048 },
    attentionFactor: 1,
    table: [1, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005, 0.000316227786],
  },
  {
    name: 'llama3',
    config: {
      rope_theta: 500000,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 32,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      },
    },
    shape: { headDim: 64, maxPositionEmbeddings: 131072 },
    attentionFactor: 1,
    table: [
      1, 0.663601279, 0.440366626, 0.292227834, 0.193922758, 0.128687382, 0.0853971019, 0.0566696189, 0.0376060307,
      0.0249554086, 0.0165604409, 0.0109895291, 0.00729266508, 0.00483942125, 0.00321144611, 0.00129054801,
      0.000429556705, 9.70828623e-5, 1.94616387e-5, 1.29147675e-5, 8.57025589e-6, 5.68723226e-6, 3.77405445e-6,
      2.50446715e-6, 1.66196742e-6, 1.10288363e-6, 7.31874934e-7, 4.85673127e-7, 3.22293289e-7, 2.1387423e-7,
      1.41927202e-7, 9.41830649e-8,
    ],
  },
  {
    name: 'yarn, spelling of transformers 5',
    config: {
      rope_parameters: { rope_type: 'yarn', rope_theta: 1e6, factor: 4, original_max_position_embeddings: 32768 },
    },
    shape: { headDim: 32, maxPositionEmbeddings: 131072 },
    attentionFactor: 1.138629436111989,
    table: [
      1, 0.421696514, 0.177827939, 0.0749894157, 0.0316227786, 0.0133352149, 0.00477990136, 0.00165996165,
      0.000549999997, 0.000168678584, 4.44569851e-5, 1.87473561e-5, 7.90569356e-6, 3.33380353e-6, 1.40585337e-6,
      5.92843435e-7,
    ],
  },
  {
    name: 'yarn with every option',
    config: {
      rope_theta: 10000,
      rope_scaling: {
        rope_type: 'yarn',
        factor: 4,
        original_max_position_embeddings: 64,
        beta_fast: 16,
        beta_slow: 2,
        mscale: 0.7,
        mscale_all_dim: 1,
        truncate: false,
      },
    },
    shape: { headDim: 20, maxPositionEmbeddings: 131072 },
    attentionFactor: 0.9634746568860826,
    table: [
      1, 0.229171962, 0.0396223292, 0.0157739315, 0.0062797158, 0.00249999994, 0.000995267648, 0.000396223331,
      0.000157739327, 6.27971749e-5,
    ],
  },
];

test.each(tables)(
  '$name equals transformers to two units in the last place',
  ({ config, shape, table, attentionFactor }) => {
    const found = ropeFrequencies(
      parseRopeConfig(config, 'config.json', { headDim: shape.headDim, partial: 'served' }),
      {
        maxModelLen: shape.maxPositionEmbeddings,
        ...shape,
      },
    );
    expect(found.attentionFactor).toBe(attentionFactor);
    const places = [...bits(found.inverseFrequencies)].map((b, i) =>
      Math.abs(b - (bits(new Float32Array(table))[i] ?? 0)),
    );
    expect(places).toHaveLength(table.length);
    expect(Math.max(...places)).toBeLessThanOrEqual(2);
  },
);

function bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer);
}
