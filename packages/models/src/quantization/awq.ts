import type { StoredWeight } from '@skein/native';
import { z } from 'zod';
import { groupSize } from './gptq.ts';
import { type ModuleTensors, SCALE_DTYPES } from './module-tensors.ts';

export interface Awq {
  readonly method: 'awq';
  /** Columns that share a scale and a zero point; null is all of them. */
  readonly groupSize: number | null;
}

const bits = z.literal(4, 'only 4 is served').nullish();

/** As AutoAWQ writes it, in config.json's names or in those that AutoAWQ itself has. */
export const awqSchema = z
  .object({
    bits,
    w_bit: bits,
    group_size: groupSize.nullish(),
    q_group_size: groupSize.nullish(),
    zero_point: z.literal(true, 'only true is served').default(true),
    version: z.enum(['gemm', 'GEMM'], 'only gemm is served').default('gemm'),
  })
  .transform((fields): Awq => {
    const size = fields.group_size ?? fields.q_group_size ?? 128;
    return { method: 'awq', groupSize: size === -1 ? null : size };
  });

/** A module is quantized where it has a qweight: the config does not name them all. */
export function awqWeight(awq: Awq, module: ModuleTensors): StoredWeight | null {
  if (module.find('qweight') === null) return null;
  const { rows, cols } = module;
  const groupSize = awq.groupSize ?? cols;
  const groups = Math.ceil(cols / groupSize);
  return {
    format: 'awq',
    groupSize,
    qweight: module.take('qweight', { dtypes: ['i32'], shapes: [[cols, rows / 8]] }),
    qzeros: module.take('qzeros', { dtypes: ['i32'], shapes: [[groups, rows / 8]] }),
    scales: module.take('scales', { dtypes: SCALE_DTYPES, shapes: [[groups, rows]] }),
  };
}
