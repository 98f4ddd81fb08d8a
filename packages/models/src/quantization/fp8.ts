import type { StoredWeight } from '@skein/native';
import { z } from 'zod';
import { type ModuleTensors, SCALE_DTYPES, type WantedTensor } from './module-tensors.ts';

export interface Fp8 {
  readonly method: 'fp8';
  /** Rows and columns that share a scale; null is one scale for all, or one a row, as its shape says. */
  readonly blockShape: readonly [number, number] | null;
}

const blockSide = z
  .int()
  .min(1)
  .max(2 ** 20);
export const blockShapeSchema = z.tuple([blockSide, blockSide]);

/** As DeepSeek's and Qwen's checkpoints have it, and vLLM's. */
export const fp8Schema = z
  .object({
    fmt: z.enum(['e4m3', 'float8_e4m3fn'], 'only e4m3 is served').nullish(),
    weight_block_size: blockShapeSchema.nullish(),
    // Activations stay in f32 whatever this says: their scales are for arithmetic in 8 bits.
    activation_scheme: z.enum(['dynamic', 'static']).nullish(),
  })
  .transform((fields): Fp8 => ({ method: 'fp8', blockShape: fields.weight_block_size ?? null }));

/** A module is quantized where its weight is of 8 bits: the config does not name them all. */
export function fp8Weight({ blockShape }: Fp8, module: ModuleTensors): StoredWeight | null {
  return module.find('weight')?.dtype === 'f8e4m3' ? storedFp8(module, blockShape) : null;
}

/** A weight of 8-bit floats and its scale, which some name `weight_scale_inv` and all multiply by. */
export function storedFp8(module: ModuleTensors, blockShape: Fp8['blockShape']): StoredWeight {
  const { rows, cols } = module;
  const shapes = blockShape
    ? [[Math.ceil(rows / blockShape[0]), Math.ceil(cols / blockShape[1])]]
    : [[], [1], [rows], [rows, 1]];
  const wanted: WantedTensor = { dtypes: SCALE_DTYPES, shapes };
  module.leave('input_scale');
  return {
    format: 'fp8',
    weight: module.take('weight', { dtypes: ['f8e4m3'], shapes: [[rows, cols]] }),
    scale: module.takeIfAny('weight_scale_inv', wanted) ?? module.take('weight_scale', wanted),
    blockShape,
  };
}
