import type { Dtype, KVCacheDtype, TensorDtype, TensorSource } from '@skein/native';
import type { ModelConfig } from './model-config.ts';

export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { f32: 4, f16: 2, bf16: 2 };

/** What `--dtype` may say; `half` and `float` are vLLM's other names. */
export type DtypeOption = 'auto' | 'float32' | 'float' | 'float16' | 'half' | 'bfloat16';

/** The model's dtype. `auto` takes the one config.json names, else the type that holds most
 *  of the weights. Weights stay in their stored type: every one is exact in f32, which is what sums are made in. */
export function resolveDtype(
  option: DtypeOption,
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorSource>,
): Dtype {
  switch (option) {
    case 'float32':
    case 'float':
      return 'f32';
    case 'float16':
    case 'half':
      return 'f16';
    case 'bfloat16':
      return 'bf16';
    case 'auto':
      return config.dtype ?? mostStored(tensors);
  }
}

/** What `--kv-cache-dtype` may say. */
export const KV_CACHE_DTYPE_OPTIONS = ['auto', 'float32', 'float16', 'bfloat16', 'fp8', 'int8'] as const;
export type KVCacheDtypeOption = (typeof KV_CACHE_DTYPE_OPTIONS)[number];

/** The KV cache's dtype; `auto` is the model's. */
export function resolveKVCacheDtype(
  option: KVCacheDtypeOption,
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorSource>,
): KVCacheDtype {
  switch (option) {
    case 'fp8':
      return 'f8e4m3';
    case 'int8':
      return 'i8';
    default:
      return resolveDtype(option, config, tensors);
  }
}

function mostStored(tensors: ReadonlyMap<string, TensorSource>): Dtype {
  const bytes: Record<Dtype, number> = { f32: 0, f16: 0, bf16: 0 };
  for (const { dtype, sizeBytes } of tensors.values()) if (isFloat(dtype)) bytes[dtype] += sizeBytes;
  const order: readonly Dtype[] = ['bf16', 'f16', 'f32'];
  return order.reduce((best, d) => (bytes[d] > bytes[best] ? d : best));
}

function isFloat(dtype: TensorDtype): dtype is Dtype {
  return dtype in DTYPE_BYTES;
}
