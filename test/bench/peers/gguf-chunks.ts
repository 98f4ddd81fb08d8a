import { closeSync, openSync, readSync } from 'node:fs';
import { encodeGgml } from '@skein/models';
import type { TensorSource } from '@skein/native';

export type MatrixType = 'f16' | 'q8_0' | 'q4_0';

const CHUNK_VALUES = 2 ** 22;

/** The numbers of a bf16 tensor in another type, in chunks of whole rows.
 *  @param rowOrder which row of the tensor each row of the result is; null keeps their order. */
export function* encodedChunks(
  tensor: TensorSource,
  dtype: MatrixType | 'f32',
  rowOrder: readonly number[] | null,
): Generator<Uint8Array> {
  const cols = tensor.shape.at(-1) ?? 1;
  const rows = tensor.sizeBytes / 2 / cols;
  const file = openSync(tensor.file, 'r');
  try {
    const read = (row: number, count: number): Uint16Array => {
      const values = new Uint16Array(count * cols);
      const bytes = readSync(file, values, { position: tensor.offsetBytes + row * cols * 2 });
      if (bytes !== values.byteLength) throw new Error(`${tensor.file} ends inside ${tensor.name}`);
      return values;
    };
    const rowsAtOnce = Math.max(1, Math.floor(CHUNK_VALUES / cols));
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - row);
      const values = rowOrder === null ? read(row, count) : new Uint16Array(count * cols);
      for (const [i, from] of (rowOrder ?? []).slice(row, row + count).entries()) values.set(read(from, 1), i * cols);
      yield encodeGgml(dtype, toFloats(values));
    }
  } finally {
    closeSync(file);
  }
}

/** The bits of a bf16 number are the upper half of its f32 bits. */
function toFloats(values: Uint16Array): Float32Array {
  const bits = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) bits[i] = (values[i] ?? 0) << 16;
  return new Float32Array(bits.buffer);
}
