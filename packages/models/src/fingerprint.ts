import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import type { KVCacheDtype, TensorSource } from '@skein/native';
import { CheckpointError } from './errors.ts';
import type { Model } from './model.ts';
import type { QuantizationOption } from './quantization/quantization-option.ts';
import { recordWhole } from './record-whole.ts';
import { weightIdentity } from './stored-weight.ts';

const SAMPLE_BYTES = 4096;
const HEX_DIGITS = 32;

/** Equal for two processes exactly when their KV blocks and tokens can be exchanged, short of weights that differ only in
 *  the middle of a tensor: it covers the model's operations and how each weight is quantized, every tensor's name, type and shape with its first and last
 *  4 KiB, the block size and the cache's type. Where the files lie and how they are sharded does not count. */
export async function modelFingerprint(options: {
  readonly model: Model;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly quantization?: QuantizationOption;
  readonly maxModelLen: number;
  readonly blockSize: number;
  readonly dtype: KVCacheDtype;
}): Promise<string> {
  const { tensors, maxModelLen, blockSize, dtype } = options;
  const whole = recordWhole(options, { maxModelLen });
  const weights = whole.weights.map(weightIdentity);
  const recorded = canonical([whole.ops, weights, blockSize, dtype]);
  const hash = createHash('sha256').update(JSON.stringify(recorded));
  const files = new Map<string, FileHandle>();
  try {
    for (const t of [...tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      let handle = files.get(t.file);
      if (handle === undefined) files.set(t.file, (handle = await open(t.file, 'r')));
      hash.update(JSON.stringify([t.name, t.dtype, t.shape, t.sizeBytes]));
      hash.update(await sample(handle, t));
    }
  } finally {
    for (const handle of files.values()) await handle.close();
  }
  return `sha256:${hash.digest('hex').slice(0, HEX_DIGITS)}`;
}

async function sample(handle: FileHandle, t: TensorSource): Promise<Uint8Array> {
  const head = Math.min(SAMPLE_BYTES, t.sizeBytes);
  const tail = Math.min(SAMPLE_BYTES, t.sizeBytes - head);
  const bytes = Buffer.alloc(head + tail);
  const first = await handle.read(bytes, 0, head, t.offsetBytes);
  const last = await handle.read(bytes, head, tail, t.offsetBytes + t.sizeBytes - tail);
  if (first.bytesRead + last.bytesRead !== bytes.length)
    throw new CheckpointError(`${t.file}: ends within tensor ${t.name}; download it again`, {
      details: { file: t.file },
    });
  return bytes;
}

/** The same value with sorted keys, so that the order of fields in a source file does not count. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, canonical(v)]),
  );
}
