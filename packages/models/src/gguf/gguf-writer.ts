import { CheckpointWriteError } from '../errors.ts';
import { writeWholeFile } from '../partial-file.ts';
import { GGML_TYPES, type GgufDtype, ggufTensorBytes } from './ggml-types.ts';
import { GGUF_VALUE_TYPES, type GgufValue } from './gguf-value.ts';

const VERSION = 3;
const ALIGNMENT = 32;

export interface GgufTensorToWrite {
  readonly name: string;
  readonly dtype: GgufDtype;
  /** Outermost dimension first, [rows, cols] for a matrix; the file has them the other way round. */
  readonly shape: readonly number[];
  /** The encoded bytes, row-major; their lengths add up to the tensor's size. A chunk may be reused once the next is
   *  asked for. */
  chunks(): Iterable<Uint8Array>;
}

export interface GgufToWrite {
  /** By key, in the order in which they are written. */
  readonly metadata: Readonly<Record<string, GgufValue>>;
  readonly tensors: readonly GgufTensorToWrite[];
}

/** Writes one GGUF file, chunk by chunk, under a temporary name that becomes `file` when all of it is on disk.
 *  Throws CheckpointWriteError, leaving no file, when the disk is full, a row is no whole number of blocks, or a tensor's
 *  chunks have another length. */
export async function writeGguf(
  file: string,
  content: GgufToWrite,
  options: { readonly signal: AbortSignal | null },
): Promise<void> {
  await writeWholeFile(file, async (write) => {
    await write(encodeHeader(file, content));
    for (const tensor of content.tensors) {
      const sizeBytes = sizeOf(file, tensor);
      let left = sizeBytes;
      for (const chunk of tensor.chunks()) {
        options.signal?.throwIfAborted();
        left -= chunk.length;
        await write(chunk);
      }
      if (left !== 0)
        throw new CheckpointWriteError(
          `${file}: tensor ${tensor.name} came ${left} bytes short of its shape [${tensor.shape.join(', ')}]`,
        );
      await write(new Uint8Array(padding(sizeBytes)));
    }
  });
}

function sizeOf(file: string, { name, dtype, shape }: GgufTensorToWrite): number {
  const sizeBytes = ggufTensorBytes(dtype, shape);
  if (sizeBytes !== null) return sizeBytes;
  const { blockValues, name: typeName } = GGML_TYPES[dtype];
  throw new CheckpointWriteError(
    `${file}: tensor ${name} has rows of ${shape.at(-1)} values; ${typeName} has blocks of ${blockValues}`,
  );
}

function padding(sizeBytes: number): number {
  return (ALIGNMENT - (sizeBytes % ALIGNMENT)) % ALIGNMENT;
}

function encodeHeader(file: string, { metadata, tensors }: GgufToWrite): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from('GGUF'), u32(VERSION), u64(tensors.length)];
  const entries = Object.entries(metadata);
  parts.push(u64(entries.length));
  for (const [key, value] of entries) parts.push(string(key), encodeValue(value));
  let offset = 0;
  for (const tensor of tensors) {
    const dims = tensor.shape.toReversed().map(u64);
    parts.push(string(tensor.name), u32(dims.length), ...dims, u32(GGML_TYPES[tensor.dtype].code), u64(offset));
    const sizeBytes = sizeOf(file, tensor);
    offset += sizeBytes + padding(sizeBytes);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, new Uint8Array(padding(header.length))]);
}

function encodeValue([type, value]: GgufValue): Uint8Array {
  if (!type.endsWith('[]')) return Buffer.concat([typeCode(type), encodeScalar(type, value)]);
  const itemType = type.slice(0, -2);
  const items: readonly unknown[] = Array.isArray(value) ? value : [];
  const header = [typeCode('array'), typeCode(itemType), u64(items.length)];
  // A vocabulary is longer than an argument list may be.
  return Buffer.concat(header.concat(items.map((item) => encodeScalar(itemType, item))));
}

function typeCode(type: string): Uint8Array {
  return u32(GGUF_VALUE_TYPES.findIndex((name) => name === type));
}

function encodeScalar(type: string, value: unknown): Uint8Array {
  if (typeof value === 'string') return string(value);
  if (typeof value === 'boolean') return Uint8Array.of(value ? 1 : 0);
  const number = Number(value);
  const bytes = Buffer.alloc(Number(type.slice(1)) / 8);
  if (type === 'f32') bytes.writeFloatLE(number);
  else if (type === 'f64') bytes.writeDoubleLE(number);
  else if (type === 'u64') bytes.writeBigUInt64LE(BigInt(number));
  else if (type === 'i64') bytes.writeBigInt64LE(BigInt(number));
  else if (type.startsWith('u')) bytes.writeUIntLE(number, 0, bytes.length);
  else bytes.writeIntLE(number, 0, bytes.length);
  return bytes;
}

function string(text: string): Uint8Array {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
