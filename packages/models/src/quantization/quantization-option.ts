import type { WeightQuantization } from '@skein/native';
import { ModelConfigError } from '../errors.ts';
import type { ParameterKind } from '../program-recorder.ts';
import type { CheckpointQuantization } from './checkpoint-quantization.ts';

/** What `--quantization` may say: what a plain checkpoint becomes as it is loaded, or, in vLLM's words, how the checkpoint is
 *  quantized. `none` takes it as it is. `fp8` is either. */
export const QUANTIZATION_OPTIONS = [
  'none',
  'int8',
  'int4',
  'int4-g128',
  'fp8',
  'compressed-tensors',
  'gptq',
  'awq',
] as const;
export type QuantizationOption = (typeof QUANTIZATION_OPTIONS)[number];

/** What each kind of parameter is quantized to when it is loaded; null stays as it is stored. */
export type QuantizationAtLoad = Readonly<Record<ParameterKind, WeightQuantization | null>>;

// Few parameters that much depends on.
const KEPT = { latentUp: null, router: null, vector: null } as const;

const AT_LOAD: Partial<Record<QuantizationOption, QuantizationAtLoad>> = {
  int8: { ...KEPT, matrix: 'int8', embedding: 'int8', head: 'int8' },
  int4: { ...KEPT, matrix: 'int4', embedding: 'int8', head: 'int8' },
  'int4-g128': { ...KEPT, matrix: 'int4g128', embedding: 'int8', head: 'int8' },
  fp8: { ...KEPT, matrix: 'fp8', embedding: null, head: null },
};

/** Null when the weights stay as they are stored. Throws ModelConfigError when the option and the checkpoint do not agree. */
export function quantizationAtLoad(
  option: QuantizationOption,
  stored: CheckpointQuantization | null,
): QuantizationAtLoad | null {
  if (option === 'none' || option === stored?.method) return null;
  const atLoad = AT_LOAD[option] ?? null;
  if (stored === null && atLoad !== null) return atLoad;
  const found =
    stored === null ? 'config.json has no quantization_config' : `config.json has quant_method ${stored.method}`;
  throw new ModelConfigError(
    `--quantization is ${option}, and ${found}; leave it out${stored === null ? '' : `, or give ${stored.method}`}`,
    { details: { option, stored: stored?.method ?? null } },
  );
}
