import type { StoredWeight } from '@skein/native';
import { z } from 'zod';
import { ModelConfigError } from '../errors.ts';
import { parseFields } from '../json-file.ts';
import { type Awq, awqSchema, awqWeight } from './awq.ts';
import { type CompressedTensors, compressedTensorsReader } from './compressed-tensors.ts';
import { compressedTensorsSchema } from './compressed-tensors-config.ts';
import { type Fp8, fp8Schema, fp8Weight } from './fp8.ts';
import { type Gptq, gptqSchema, gptqWeight } from './gptq.ts';
import type { ModuleTensors } from './module-tensors.ts';

/** How a checkpoint's matrices are quantized, as its config.json says. Plain data. */
export type CheckpointQuantization = CompressedTensors | Gptq | Awq | Fp8;

const SCHEMAS = {
  awq: awqSchema,
  'compressed-tensors': compressedTensorsSchema,
  fp8: fp8Schema,
  gptq: gptqSchema,
} as const;

/** What `quant_method` may be, in vLLM's words. */
export type QuantizationMethod = keyof typeof SCHEMAS;

export const QUANTIZATION_METHODS: readonly QuantizationMethod[] = ['awq', 'compressed-tensors', 'fp8', 'gptq'];

const SERVED = `served are ${QUANTIZATION_METHODS.join(', ')}, and GGUF files`;

const methodSchema = z.object({
  quant_method: z.enum(QUANTIZATION_METHODS, {
    error: ({ input }) =>
      input === 'bitsandbytes'
        ? `bitsandbytes quantizes on a GPU as it loads; take the unquantized checkpoint with --quantization int8 or int4; ${SERVED}`
        : SERVED,
  }),
});

/** Checks config.json's `quantization_config`; null and undefined are none. Throws ModelConfigError naming `file` and field. */
export function parseQuantization(value: unknown, file: string): CheckpointQuantization | null {
  if (value === null || value === undefined) return null;
  const document = { quantization_config: value };
  const parse = <T>(schema: z.ZodType<T>): T =>
    parseFields(z.object({ quantization_config: schema }), document, { file, ErrorClass: ModelConfigError })
      .quantization_config;
  return parse<CheckpointQuantization>(SCHEMAS[parse(methodSchema).quant_method]);
}

/** Gives how a module's weight is stored; null when it is a plain `weight`. What it gives throws CheckpointError when tensors that
 *  belong together are not all there in their shapes. */
export function weightReader(quantization: CheckpointQuantization): (module: ModuleTensors) => StoredWeight | null {
  switch (quantization.method) {
    case 'awq':
      return (module) => awqWeight(quantization, module);
    case 'compressed-tensors':
      return compressedTensorsReader(quantization);
    case 'fp8':
      return (module) => fp8Weight(quantization, module);
    case 'gptq':
      return (module) => gptqWeight(quantization, module);
  }
}
