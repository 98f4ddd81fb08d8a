import type { StoredWeight } from '@skein/native';
import { storedFp8 } from './fp8.ts';
import { type ModuleTensors, SCALE_DTYPES } from './module-tensors.ts';
import { Targets } from './target.ts';

/** How the modules of one group are stored. `groupSize` null is one scale a row. */
export type Scheme =
  | {
      readonly kind: 'packed';
      readonly bits: 4 | 8;
      readonly groupSize: number | null;
      readonly symmetric: boolean;
      /** Whether a tensor says which group each column is of. */
      readonly byGroup: boolean;
    }
  | {
      readonly kind: 'int8';
      readonly groupSize: number | null;
      readonly isPerTensor: boolean;
      readonly symmetric: boolean;
      readonly rowScaledActivations: boolean;
    }
  | { readonly kind: 'fp8'; readonly blockShape: readonly [number, number] | null };

export interface CompressedTensors {
  readonly method: 'compressed-tensors';
  readonly groups: readonly { readonly targets: readonly string[]; readonly scheme: Scheme }[];
  readonly ignore: readonly string[];
}

const FLOAT_TYPES: ReadonlySet<string> = new Set(['f32', 'f16', 'bf16']);

/** Gives how a module is stored; null for a plain one. */
export function compressedTensorsReader(config: CompressedTensors): (module: ModuleTensors) => StoredWeight | null {
  const ignored = new Targets(config.ignore.map((target) => [target, true]));
  const schemes = new Targets(
    config.groups.flatMap(({ targets, scheme }) => targets.map((target) => [target, scheme] as const)),
  );
  return (module) => {
    const scheme = ignored.find(module) ? null : schemes.find(module);
    return scheme === null ? null : storedWeight(scheme, module);
  };
}

function storedWeight(scheme: Scheme, module: ModuleTensors): StoredWeight | null {
  // A module of the kind that is quantized may still be plain: exporters leave routers off the list of what they ignored.
  if (FLOAT_TYPES.has(module.find('weight')?.dtype ?? '')) return null;
  module.leave('input_scale', 'input_zero_point');
  switch (scheme.kind) {
    case 'packed':
      return packedWeight(scheme, module);
    case 'int8':
      return int8Weight(scheme, module);
    case 'fp8':
      module.leave('weight_zero_point');
      return storedFp8(module, scheme.blockShape);
  }
}

function packedWeight(
  { bits, groupSize, symmetric, byGroup }: Extract<Scheme, { kind: 'packed' }>,
  module: ModuleTensors,
): StoredWeight {
  const { rows, cols } = module;
  const words = (count: number): number => Math.ceil((count * bits) / 32);
  const groups = groupSize === null ? 1 : Math.ceil(cols / groupSize);
  // The shape before packing, which config.json gives too; zero points that symmetric codes have from older writers.
  module.leave('weight_shape', 'weight_zero_point');
  return {
    format: 'packed',
    bits,
    groupSize,
    packed: module.take('weight_packed', { dtypes: ['i32'], shapes: [[rows, words(cols)]] }),
    scale: module.take('weight_scale', { dtypes: SCALE_DTYPES, shapes: [[rows, groups]] }),
    zeroPoint: symmetric
      ? null
      : module.take('weight_zero_point', { dtypes: ['i32'], shapes: [[words(rows), groups]] }),
    gIdx: byGroup ? module.take('weight_g_idx', { dtypes: ['i32'], shapes: [[cols]] }) : null,
  };
}

function int8Weight(scheme: Extract<Scheme, { kind: 'int8' }>, module: ModuleTensors): StoredWeight {
  const { rows, cols } = module;
  const { groupSize, isPerTensor, symmetric, rowScaledActivations } = scheme;
  const perRow = groupSize === null ? [[rows, 1], [rows]] : [[rows, Math.ceil(cols / groupSize)]];
  const shapes = isPerTensor ? [[1], []] : perRow;
  module.leave('weight_zero_point');
  return {
    format: 'int8',
    groupSize,
    weight: module.take('weight', { dtypes: ['i8'], shapes: [[rows, cols]] }),
    scale: module.take('weight_scale', { dtypes: SCALE_DTYPES, shapes }),
    zeroPoint: symmetric ? null : module.take('weight_zero_point', { dtypes: ['i8'], shapes }),
    rowScaledActivations,
  };
}
