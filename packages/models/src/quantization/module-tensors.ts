import type { TensorDtype, TensorSource } from '@skein/native';
import { CheckpointError } from '../errors.ts';
import type { TargetedModule } from './target.ts';

/** What scales may be stored in. */
export const SCALE_DTYPES: readonly TensorDtype[] = ['f32', 'f16', 'bf16'];

/** A tensor that a module must have. */
export interface WantedTensor {
  readonly dtypes: readonly TensorDtype[];
  /** Any of these. */
  readonly shapes: readonly (readonly number[])[];
}

/** A module with a weight of `rows` times `cols`. */
export interface QuantizableModule extends TargetedModule {
  readonly rows: number;
  readonly cols: number;
}

/** The tensors of a checkpoint whose names begin with a module's, as they are asked for by what follows. */
export class ModuleTensors implements QuantizableModule {
  /** Names of what was asked for and is there. */
  readonly used = new Set<string>();
  readonly name: string;
  readonly className: TargetedModule['className'];
  readonly rows: number;
  readonly cols: number;
  readonly #tensors: ReadonlyMap<string, TensorSource>;

  constructor(module: QuantizableModule, tensors: ReadonlyMap<string, TensorSource>) {
    this.name = module.name;
    this.className = module.className;
    this.rows = module.rows;
    this.cols = module.cols;
    this.#tensors = tensors;
  }

  /** As stored, unchecked; null when there is none. */
  find(suffix: string): TensorSource | null {
    return this.#tensors.get(`${this.name}.${suffix}`) ?? null;
  }

  /** Throws CheckpointError when there is none of that type and shape. */
  take(suffix: string, wanted: WantedTensor): TensorSource {
    const tensor = this.#tensors.get(`${this.name}.${suffix}`);
    if (tensor === undefined) {
      throw new CheckpointError(
        `the checkpoint lacks tensor ${this.name}.${suffix} ${shown(wanted.shapes)}; quantization_config in config.json and weights do not belong together`,
        { details: { name: `${this.name}.${suffix}` } },
      );
    }
    const { name, file, shape, dtype } = tensor;
    if (!wanted.shapes.some((s) => s.length === shape.length && s.every((n, i) => n === shape[i]))) {
      throw new CheckpointError(
        `${file}: tensor ${name} has shape [${shape.join(', ')}]; config.json calls for ${shown(wanted.shapes)}`,
        { details: { name, shape, wanted: wanted.shapes } },
      );
    }
    if (!wanted.dtypes.includes(dtype)) {
      throw new CheckpointError(
        `${file}: tensor ${name} has type ${dtype}; quantization_config in config.json calls for ${wanted.dtypes.join(', ')}`,
        { details: { name, dtype, wanted: wanted.dtypes } },
      );
    }
    this.used.add(name);
    return tensor;
  }

  /** As `take`; null when there is none of that name. */
  takeIfAny(suffix: string, wanted: WantedTensor): TensorSource | null {
    return this.find(suffix) === null ? null : this.take(suffix, wanted);
  }

  /** Counts tensors as used that nothing computes with. */
  leave(...suffixes: readonly string[]): void {
    for (const suffix of suffixes) {
      const tensor = this.find(suffix);
      if (tensor !== null) this.used.add(tensor.name);
    }
  }
}

function shown(shapes: WantedTensor['shapes']): string {
  return shapes.map((shape) => `[${shape.join(', ')}]`).join(' or ');
}
