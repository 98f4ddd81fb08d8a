import type { StoredWeight } from '@skein/native';
import { z } from 'zod';
import type { ModuleTensors } from './module-tensors.ts';
import { SCALE_DTYPES } from './module-tensors.ts';

export interface Gptq {
  readonly method: 'gptq';
  readonly bits: 4 | 8;
  /** Columns that share a scale; null is all of them. */
  readonly groupSize: number | null;
  /** What stored zero points lack. */
  readonly zeroOffset: 0 | 1;
}

/** -1 is one group of all columns. */
export const groupSize = z
  .int()
  .min(-1)
  .max(2 ** 20)
  .refine((size) => size !== 0, 'a group has columns, and -1 is all of them');

const layout = z.enum(['gptq', 'gptq_v2'], 'served are gptq and gptq_v2').nullish();

/** As AutoGPTQ and GPTQModel write it. */
export const gptqSchema = z
  .object({
    bits: z.literal([4, 8], 'served are 4 and 8'),
    group_size: groupSize,
    checkpoint_format: layout,
    // GPTQModel's newer name.
    format: layout,
    is_marlin_format: z.literal(false, 'only the gptq layout is served').nullish(),
    pack_dtype: z.enum(['int32', 'torch.int32'], 'only int32 is served').nullish(),
    // Modules that other settings hold for. One that begins with - is left unquantized, which its tensors show.
    dynamic: z
      .record(z.string().max(1000), z.unknown())
      .refine(
        (modules) => Object.keys(modules).every((name) => name.startsWith('-:')),
        'modules with settings of their own are not served',
      )
      .nullish(),
  })
  .transform((fields): Gptq => ({
    method: 'gptq',
    bits: fields.bits,
    groupSize: fields.group_size === -1 ? null : fields.group_size,
    zeroOffset: (fields.checkpoint_format ?? fields.format) === 'gptq_v2' ? 0 : 1,
  }));

/** A module is quantized where it has a qweight: the config does not name them all. */
export function gptqWeight({ bits, groupSize, zeroOffset }: Gptq, module: ModuleTensors): StoredWeight | null {
  if (module.find('qweight') === null) return null;
  const { rows, cols } = module;
  const words = (count: number): number => Math.ceil((count * bits) / 32);
  const groups = groupSize === null ? 1 : Math.ceil(cols / groupSize);
  return {
    format: 'gptq',
    bits,
    groupSize,
    qweight: module.take('qweight', { dtypes: ['i32'], shapes: [[words(cols), rows]] }),
    qzeros: module.take('qzeros', { dtypes: ['i32'], shapes: [[groups, words(rows)]] }),
    scales: module.take('scales', { dtypes: SCALE_DTYPES, shapes: [[groups, rows]] }),
    // Without act-order it says what the group size does.
    gIdx: module.takeIfAny('g_idx', { dtypes: ['i32'], shapes: [[cols]] }),
    zeroOffset,
  };
}
