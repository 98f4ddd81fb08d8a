import type { Dtype, GgmlType, TensorDtype } from '@skein/native';

/** How GGUF files store the numbers of a tensor: blocks of consecutive columns, or single numbers. */
export interface GgmlTypeInfo {
  /** As ggml and its quantizer name it. */
  readonly name: string;
  /** What the file says. */
  readonly code: number;
  readonly blockValues: number;
  readonly blockBytes: number;
}

/** The types that are served. */
export type GgufDtype = Dtype | GgmlType;

export const GGML_TYPES: Readonly<Record<GgufDtype, GgmlTypeInfo>> = {
  f32: { name: 'F32', code: 0, blockValues: 1, blockBytes: 4 },
  f16: { name: 'F16', code: 1, blockValues: 1, blockBytes: 2 },
  bf16: { name: 'BF16', code: 30, blockValues: 1, blockBytes: 2 },
  q8_0: { name: 'Q8_0', code: 8, blockValues: 32, blockBytes: 34 },
  q4_0: { name: 'Q4_0', code: 2, blockValues: 32, blockBytes: 18 },
  q4_1: { name: 'Q4_1', code: 3, blockValues: 32, blockBytes: 20 },
  q4_k: { name: 'Q4_K', code: 12, blockValues: 256, blockBytes: 144 },
  q5_k: { name: 'Q5_K', code: 13, blockValues: 256, blockBytes: 176 },
  q6_k: { name: 'Q6_K', code: 14, blockValues: 256, blockBytes: 210 },
};

/** Names of the types that files may have and that are not served, by their code. */
export const UNSERVED_GGML_TYPES: Readonly<Record<number, string>> = {
  6: 'Q5_0',
  7: 'Q5_1',
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

export function isGgufDtype(dtype: TensorDtype): dtype is GgufDtype {
  return dtype in GGML_TYPES;
}

/** Bytes of a row-major tensor, outermost dimension first; null when its rows are no whole blocks. */
export function ggufTensorBytes(dtype: GgufDtype, shape: readonly number[]): number | null {
  const { blockValues, blockBytes } = GGML_TYPES[dtype];
  const cols = shape.at(-1) ?? 1;
  if (cols % blockValues !== 0) return null;
  return shape.slice(0, -1).reduce((a, b) => a * b, (cols / blockValues) * blockBytes);
}
