import type { TensorSource } from '@skein/native';
import { CheckpointError } from './errors.ts';

/** Throws CheckpointError when two tensors of `file` share a byte. */
export function refuseOverlap(file: string, tensors: Iterable<TensorSource>): void {
  const byOffset = [...tensors].sort((a, b) => a.offsetBytes - b.offsetBytes || a.sizeBytes - b.sizeBytes);
  for (const [i, tensor] of byOffset.entries()) {
    const before = byOffset[i - 1];
    if (before !== undefined && before.offsetBytes + before.sizeBytes > tensor.offsetBytes) {
      throw new CheckpointError(
        `${file}: tensors ${before.name} and ${tensor.name} overlap at byte ${tensor.offsetBytes}; download the file again`,
        { details: { file } },
      );
    }
  }
}
