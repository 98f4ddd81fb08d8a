import type { TensorSource, WeightQuantization } from '@skein/native';
import { CheckpointError } from './errors.ts';
import type { Model } from './model.ts';
import type { Parameter, ParameterKind, ParameterSource } from './program-recorder.ts';
import { weightReader } from './quantization/checkpoint-quantization.ts';
import { ModuleTensors } from './quantization/module-tensors.ts';
import { type QuantizationOption, quantizationAtLoad } from './quantization/quantization-option.ts';

export interface CheckpointParametersOptions {
  readonly model: Pick<Model, 'config'>;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly quantization?: QuantizationOption;
}

/** Parameters of a checkpoint. Throws ModelConfigError when `quantization` is not to be had of it. */
export function checkpointParameters(options: CheckpointParametersOptions): ParameterSource {
  const { model, tensors, quantization = 'none' } = options;
  const stored = model.config.quantization;
  const atLoad = quantizationAtLoad(quantization, stored);
  const read = stored === null ? null : weightReader(stored);
  return (parameter) => {
    const module = read === null ? null : moduleOf(parameter, tensors);
    if (read !== null && module !== null) {
      const weight = read(module);
      if (weight !== null) return { stored: weight, quantize: null, tensorNames: module.used };
    }
    const tensor = plainTensor(parameter, tensors);
    const quantize = atLoad === null ? null : atLoad[parameter.kind];
    if (quantize !== null) checkQuantizable(tensor, quantize);
    return { stored: { format: 'plain', tensor }, quantize, tensorNames: [tensor.name] };
  };
}

/** Of a matrix; null for what is never quantized. */
function moduleOf({ name, shape, kind }: Parameter, tensors: ReadonlyMap<string, TensorSource>): ModuleTensors | null {
  const [rows, cols] = shape;
  if (rows === undefined || cols === undefined || !name.endsWith(WEIGHT)) return null;
  const className = CLASS_NAMES[kind] ?? 'Linear';
  return new ModuleTensors({ name: name.slice(0, -WEIGHT.length), className, rows, cols }, tensors);
}

const WEIGHT = '.weight';
const CLASS_NAMES: Partial<Record<ParameterKind, 'Embedding'>> = { embedding: 'Embedding' };
const FLOATS: ReadonlySet<string> = new Set(['f32', 'f16', 'bf16']);
/** Without their scales these are no weights. */
const CODES: ReadonlySet<string> = new Set(['f8e4m3', 'i8', 'u8', 'i32', 'i64']);

function plainTensor({ name, shape }: Parameter, tensors: ReadonlyMap<string, TensorSource>): TensorSource {
  const tensor = tensors.get(name);
  if (tensor === undefined) {
    throw new CheckpointError(
      `the checkpoint lacks tensor ${name} [${shape.join(', ')}]; config.json and weights do not belong together`,
      { details: { name, shape } },
    );
  }
  if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i])) {
    throw new CheckpointError(
      `${tensor.file}: tensor ${name} has shape [${tensor.shape.join(', ')}]; config.json calls for [${shape.join(', ')}]`,
      { details: { name, shape: tensor.shape, wanted: shape } },
    );
  }
  if (CODES.has(tensor.dtype)) {
    throw new CheckpointError(
      `${tensor.file}: tensor ${name} has type ${tensor.dtype}, and config.json has no quantization_config that says what its numbers stand for`,
      { details: { name, dtype: tensor.dtype } },
    );
  }
  return tensor;
}

function checkQuantizable({ file, name, dtype }: TensorSource, quantize: WeightQuantization): void {
  if (FLOATS.has(dtype)) return;
  throw new CheckpointError(
    `${file}: tensor ${name} has type ${dtype} and cannot be quantized to ${quantize}; leave --quantization out`,
    { details: { name, dtype, quantize } },
  );
}
