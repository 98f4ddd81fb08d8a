import type { Dtype, TensorDtype, TensorSource } from '@skein/native';
import { DTYPE_BYTES } from '../dtype.ts';
import { type Model, wholeModel } from '../model.ts';
import { type Parameter, ProgramRecorder } from '../program-recorder.ts';
import { weightReader } from '../quantization/checkpoint-quantization.ts';
import { ModuleTensors, type WantedTensor } from '../quantization/module-tensors.ts';

/** Bytes of an element of what checkpoints in Hugging Face's form hold. */
const ELEMENT_BYTES: Partial<Readonly<Record<TensorDtype, number>>> = {
  ...DTYPE_BYTES,
  f8e4m3: 1,
  i8: 1,
  u8: 1,
  i32: 4,
  i64: 8,
};

/** The tensors that a checkpoint of this model would hold, whose files nobody has: those that its recording asks for, matrices
 *  quantized as config.json says and all else in the model's type, bf16 where the config names none. They have no file and
 *  can be planned with, never loaded. */
export function assumedTensors(model: Model): Map<string, TensorSource> {
  const { quantization, dtype: named } = model.config;
  const dtype = named ?? 'bf16';
  const read = quantization === null ? null : weightReader(quantization);
  const tensors = new Map<string, TensorSource>();
  for (const parameter of parametersOf(model)) {
    const module = read === null ? null : AssumedModule.of(parameter, dtype);
    if (module !== null) read?.(module);
    const assumed = module?.taken.length ? module.taken : [tensorOf(parameter.name, dtype, parameter.shape)];
    for (const tensor of assumed) tensors.set(tensor.name, tensor);
  }
  return tensors;
}

function parametersOf(model: Model): Parameter[] {
  const found = new Map<string, Parameter>();
  const recorder = new ProgramRecorder((parameter) => {
    found.set(parameter.name, parameter);
    const tensor = tensorOf(parameter.name, 'bf16', parameter.shape);
    return { stored: { format: 'plain', tensor }, quantize: null, tensorNames: [] };
  });
  model.record(recorder, wholeModel(model, model.config.maxPositionEmbeddings));
  return [...found.values()];
}

function tensorOf(name: string, dtype: TensorDtype, shape: readonly number[]): TensorSource {
  const sizeBytes = shape.reduce((a, b) => a * b, ELEMENT_BYTES[dtype] ?? 0);
  return { name, file: '', offsetBytes: 0, sizeBytes, dtype, shape };
}

const WEIGHT = '.weight';
/** What tells readers that a module is quantized at all, and the type it then has. */
const SIGNS: Readonly<Record<string, TensorDtype>> = { qweight: 'i32', weight: 'f8e4m3' };

/** A module that holds whatever its reader asks for. */
class AssumedModule extends ModuleTensors {
  readonly taken: TensorSource[] = [];
  readonly #dtype: Dtype;

  /** Null for what exporters leave as it is. */
  static of({ name, shape, kind }: Parameter, dtype: Dtype): AssumedModule | null {
    const [rows, cols] = shape;
    if (rows === undefined || cols === undefined || !name.endsWith(WEIGHT)) return null;
    if (kind !== 'matrix' && kind !== 'latentUp') return null;
    return new AssumedModule({ name: name.slice(0, -WEIGHT.length), rows, cols }, dtype);
  }

  private constructor(module: { readonly name: string; readonly rows: number; readonly cols: number }, dtype: Dtype) {
    super({ ...module, className: 'Linear' }, new Map());
    this.#dtype = dtype;
  }

  override find(suffix: string): TensorSource | null {
    const dtype = SIGNS[suffix];
    return dtype === undefined ? null : tensorOf(`${this.name}.${suffix}`, dtype, [this.rows, this.cols]);
  }

  override take(suffix: string, { dtypes, shapes }: WantedTensor): TensorSource {
    const dtype = dtypes.includes(this.#dtype) ? this.#dtype : (dtypes[0] ?? this.#dtype);
    const tensor = tensorOf(`${this.name}.${suffix}`, dtype, shapes[0] ?? []);
    this.taken.push(tensor);
    return tensor;
  }
}
