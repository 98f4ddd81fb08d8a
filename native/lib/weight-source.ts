/** Where a program's weights come from: tensors in files, how they hold a weight, and what of it is taken. */

/** Float types that are computed with as they are. */
export type Dtype = 'f32' | 'f16' | 'bf16';

/** Block types of ggml: 32 values of a row share scales in `q8_0`, `q4_0` and `q4_1`, 256 in the others. */
export type GgmlType = 'q8_0' | 'q4_0' | 'q4_1' | 'q4_k' | 'q5_k' | 'q6_k';

export type TensorDtype = Dtype | 'f8e4m3' | 'i8' | 'u8' | 'i32' | 'i64' | GgmlType;

/** A tensor in a file: `sizeBytes` at `offsetBytes`, row-major, little-endian. A ggml type's `shape` counts values, and its
 *  blocks lie along the last dimension. */
export interface TensorSource {
  readonly name: string;
  readonly file: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
}

/** How a checkpoint holds a weight of n rows and k columns. An integer code stands for (code - zero) * scale. A `groupSize`
 *  is the number of neighbouring columns that share scale and zero point; null is all of them. `gIdx` [k] gives the
 *  group of each column, where groups are not runs of columns (act-order). */
export type StoredWeight =
  /** Any float or ggml type; vectors too. */
  | { readonly format: 'plain'; readonly tensor: TensorSource }
  /** qweight i32 [k * bits / 32, n], lowest bits first; qzeros i32 [groups, n * bits / 32], which hold zero - zeroOffset;
   *  scales [groups, n]. The first version of the format has zeroOffset 1. */
  | {
      readonly format: 'gptq';
      readonly bits: 4 | 8;
      readonly groupSize: number | null;
      readonly qweight: TensorSource;
      readonly qzeros: TensorSource;
      readonly scales: TensorSource;
      readonly gIdx: TensorSource | null;
      readonly zeroOffset: 0 | 1;
    }
  /** 4 bits. qweight i32 [k, n / 8], eight columns of n in the order 0 2 4 6 1 3 5 7, lowest bits first; qzeros i32
   *  [groups, n / 8] alike; scales [groups, n]. */
  | {
      readonly format: 'awq';
      readonly groupSize: number;
      readonly qweight: TensorSource;
      readonly qzeros: TensorSource;
      readonly scales: TensorSource;
    }
  /** compressed-tensors' pack-quantized: packed i32 [n, ceil(k * bits / 32)], lowest bits first, of codes + 2^(bits - 1);
   *  scale [n, groups]; zeroPoint i32 [ceil(n * bits / 32), groups], packed alike along n, or null for symmetric codes. */
  | {
      readonly format: 'packed';
      readonly bits: 4 | 8;
      readonly groupSize: number | null;
      readonly packed: TensorSource;
      readonly scale: TensorSource;
      readonly zeroPoint: TensorSource | null;
      readonly gIdx: TensorSource | null;
    }
  /** compressed-tensors' int-quantized: weight i8 [n, k]; scale [n, groups], [n] or [1]; zeroPoint i8 of the same shape, or
   *  null. `rowScaledActivations`: the format prescribes 8-bit activations with one scale per row. */
  | {
      readonly format: 'int8';
      readonly groupSize: number | null;
      readonly weight: TensorSource;
      readonly scale: TensorSource;
      readonly zeroPoint: TensorSource | null;
      readonly rowScaledActivations: boolean;
    }
  /** weight f8e4m3 [n, k], multiplied by scale: [1], [n], [n, 1], or [ceil(n / b0), ceil(k / b1)] with blockShape [b0, b1]. */
  | {
      readonly format: 'fp8';
      readonly weight: TensorSource;
      readonly scale: TensorSource;
      readonly blockShape: readonly [number, number] | null;
    };

/** What a matrix of floats is quantized to when it is loaded: `int8`, symmetric with a scale per 128 columns; `int4` and
 *  `int4g128`, codes 0 to 15 around 8 with a scale per 32 or 128 columns; `fp8`, e4m3 with a scale per row. */
export type WeightQuantization = 'int8' | 'int4' | 'int4g128' | 'fp8';

/** One weight of a program. */
export interface WeightSource {
  readonly name: string;
  /** [n, k], or [n] for a vector. */
  readonly shape: readonly number[];
  readonly stored: StoredWeight;
  /** The first of the stored rows that this weight takes, `shape[0]` in all. */
  readonly firstRow: number;
  /** The first of the stored columns that it takes, `shape[1]` in all: all of them, or a half, a quarter or an eighth that is
   *  whole partial sums and, where columns share scales, whole groups; the addon names a weight of which that cannot be. An
   *  `allReduce` sum of the products of all ranks then has the bits of one rank's. 0 for a vector. */
  readonly firstCol: number;
  /** Null leaves the weight as it is stored. */
  readonly quantize: WeightQuantization | null;
}
