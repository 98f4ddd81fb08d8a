import type { Dtype } from '@skein/native';
import { DTYPE_BYTES } from './dtype.ts';
import { CheckpointWriteError } from './errors.ts';
import { writeWholeFile } from './partial-file.ts';

const DTYPE_NAMES: Readonly<Record<Dtype, string>> = { f32: 'F32', f16: 'F16', bf16: 'BF16' };

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Little-endian, row-major; their lengths add up to the tensor's size. A chunk may be reused once the next is asked for. */
  chunks(): Iterable<Uint8Array>;
}

export function tensorBytes(tensor: Pick<TensorToWrite, 'dtype' | 'shape'>): number {
  return tensor.shape.reduce((a, b) => a * b, DTYPE_BYTES[tensor.dtype]);
}

/** Writes one safetensors file, chunk by chunk, under a temporary name that becomes `file` when all of it is on disk.
 *  Throws CheckpointWriteError, leaving no file, when the disk is full or a tensor's chunks have another length. */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorToWrite[],
  options: { readonly signal: AbortSignal | null },
): Promise<void> {
  await writeWholeFile(file, async (write) => {
    await write(encodeHeader(tensors));
    for (const tensor of tensors) {
      let left = tensorBytes(tensor);
      for (const chunk of tensor.chunks()) {
        options.signal?.throwIfAborted();
        left -= chunk.length;
        await write(chunk);
      }
      if (left !== 0)
        throw new CheckpointWriteError(
          `${file}: tensor ${tensor.name} came ${left} bytes short of its shape [${tensor.shape.join(', ')}]`,
        );
    }
  });
}

function encodeHeader(tensors: readonly TensorToWrite[]): Uint8Array {
  let offset = 0;
  const entries = tensors.map((t) => {
    const begin = offset;
    offset += tensorBytes(t);
    return [t.name, { dtype: DTYPE_NAMES[t.dtype], shape: t.shape, data_offsets: [begin, offset] }] as const;
  });
  const json = Buffer.from(JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) }));
  // Spaces bring the data to a multiple of 64 bytes, so that every tensor of even rows can be read in place.
  const padded = Math.ceil((8 + json.length) / 64) * 64;
  const header = Buffer.alloc(padded, ' ');
  header.writeBigUInt64LE(BigInt(padded - 8), 0);
  json.copy(header, 8);
  return header;
}
