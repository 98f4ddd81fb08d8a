import type { StoredWeight, TensorSource, WeightSource } from '@skein/native';

/** The tensors that a stored weight is made of. */
export function storedTensors(stored: StoredWeight): TensorSource[] {
  const fields = (): (TensorSource | null)[] => {
    switch (stored.format) {
      case 'plain':
        return [stored.tensor];
      case 'gptq':
        return [stored.qweight, stored.qzeros, stored.scales, stored.gIdx];
      case 'awq':
        return [stored.qweight, stored.qzeros, stored.scales];
      case 'packed':
        return [stored.packed, stored.scale, stored.zeroPoint, stored.gIdx];
      case 'int8':
        return [stored.weight, stored.scale, stored.zeroPoint];
      case 'fp8':
        return [stored.weight, stored.scale];
    }
  };
  return fields().filter((tensor) => tensor !== null);
}

/** What a fingerprint covers of a weight: all but where its tensors lie. */
export function weightIdentity({ name, shape, stored, firstRow, quantize }: WeightSource): unknown {
  const fields = Object.entries(stored).map(([key, value]: [string, unknown]) => [
    key,
    storedTensors(stored).find((tensor) => tensor === value)?.name ?? value,
  ]);
  return [name, shape, Object.fromEntries(fields), firstRow, quantize];
}
