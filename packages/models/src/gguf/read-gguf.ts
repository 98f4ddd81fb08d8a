import { closeSync, fstatSync, openSync } from 'node:fs';
import type { TensorSource } from '@skein/native';
import { CheckpointError } from '../errors.ts';
import { refuseOverlap } from '../tensor-overlap.ts';
import { GGML_TYPES, type GgufDtype, ggufTensorBytes, UNSERVED_GGML_TYPES } from './ggml-types.ts';
import { HeaderCursor } from './header-cursor.ts';
import { type GgufMetadataValue, readValue, type ReadValueOptions } from './read-value.ts';

const MAGIC = 0x46554747;
const VERSIONS = [2, 3];
const ALIGNMENT_DEFAULT = 32;
const ALIGNMENT_MAX = 2 ** 20;
const DIMENSIONS_MAX = 4;
const TENSORS_MAX = 2 ** 17;
const VALUES_MAX = 2 ** 17;
const KEY_CHARS_MAX = 65535;
const NAME_CHARS_MAX = 1000;
/** A key with its type and the smallest value; a tensor's name, dimensions, type and offset. */
const VALUE_BYTES_MIN = 8 + 1 + 4 + 1;
const TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8;

export interface GgufFile {
  readonly file: string;
  readonly metadata: ReadonlyMap<string, GgufMetadataValue>;
  /** By the file's own names; shapes have the outermost dimension first. */
  readonly tensors: ReadonlyMap<string, TensorSource & { readonly dtype: GgufDtype }>;
}

/** Reads the header of one GGUF file, version 2 or 3; every tensor lies inside the file, aligned, and no two share a byte.
 *  Throws CheckpointError naming file, and key or tensor. */
export function readGguf(file: string, options: ReadValueOptions = { arrays: true }): GgufFile {
  let fd = -1;
  try {
    fd = openSync(file, 'r');
    const { size: fileBytes } = fstatSync(fd);
    return readHeader(new HeaderCursor(file, fd, fileBytes), fileBytes, options);
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new CheckpointError(`${file}: cannot be read as GGUF (${why}); download it again`, {
      cause: error,
      details: { file },
    });
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

function readHeader(cursor: HeaderCursor, fileBytes: number, options: ReadValueOptions): GgufFile {
  const { file } = cursor;
  if (cursor.u32('its first bytes') !== MAGIC) throw cursor.fail('does not begin with GGUF');
  const version = cursor.u32('the version');
  if (!VERSIONS.includes(version)) {
    const swapped = version % 0x10000 === 0 ? ', which is how a big-endian file looks' : '';
    throw cursor.fail(`has version ${version}${swapped}; served are ${VERSIONS.join(' and ')}, little-endian`);
  }
  const numTensors = cursor.count('the number of tensors', TENSOR_BYTES_MIN);
  const numValues = cursor.count('the number of values', VALUE_BYTES_MIN);
  if (numTensors > TENSORS_MAX) throw cursor.fail(`has ${numTensors} tensors; at most ${TENSORS_MAX} are read`);
  if (numValues > VALUES_MAX) throw cursor.fail(`has ${numValues} values; at most ${VALUES_MAX} are read`);
  const metadata = new Map<string, GgufMetadataValue>();
  for (let i = 0; i < numValues; i++) {
    const key = readName(cursor, 'key', KEY_CHARS_MAX);
    if (metadata.has(key)) throw cursor.fail(`has key ${key} twice`);
    metadata.set(key, readValue(cursor, key, options));
  }
  const alignment = alignmentOf(cursor, metadata.get('general.alignment'));
  const infos = new Map<string, TensorInfo>();
  for (let i = 0; i < numTensors; i++) {
    const name = readName(cursor, 'tensor', NAME_CHARS_MAX);
    if (infos.has(name)) throw cursor.fail(`has tensor ${name} twice`);
    infos.set(name, readTensorInfo(cursor, name));
  }
  const dataStart = Math.ceil(cursor.offset / alignment) * alignment;
  const place = { file, alignment, dataStart, fileBytes };
  const tensors = new Map([...infos].map(([name, info]) => [name, locate(name, info, place)]));
  refuseOverlap(file, tensors.values());
  return { file, metadata, tensors };
}

function readName(cursor: HeaderCursor, what: string, charsMax: number): string {
  const name = cursor.text(`the name of a ${what}`);
  if (name.length > 0 && name.length <= charsMax) return name;
  throw cursor.fail(`has a ${what} whose name has ${name.length} characters; 1 to ${charsMax} are read`);
}

function alignmentOf(cursor: HeaderCursor, value: GgufMetadataValue = ALIGNMENT_DEFAULT): number {
  if (typeof value === 'number' && value >= 1 && value <= ALIGNMENT_MAX && Number.isInteger(Math.log2(value)))
    return value;
  throw cursor.fail(
    `general.alignment is ${String(value).slice(0, 100)}; served are powers of 2 up to ${ALIGNMENT_MAX}`,
  );
}

interface TensorInfo {
  readonly dtype: GgufDtype;
  readonly shape: readonly number[];
  readonly offset: bigint;
}

const DTYPES: ReadonlyMap<number, GgufDtype> = new Map(
  (Object.keys(GGML_TYPES) as GgufDtype[]).map((dtype) => [GGML_TYPES[dtype].code, dtype]),
);

function readTensorInfo(cursor: HeaderCursor, name: string): TensorInfo {
  const what = `tensor ${name}`;
  const numDimensions = cursor.u32(what);
  if (numDimensions > DIMENSIONS_MAX)
    throw cursor.fail(`${what} has ${numDimensions} dimensions; there are at most ${DIMENSIONS_MAX}`);
  const shape: number[] = [];
  for (let i = 0; i < numDimensions; i++) {
    const n = cursor.u64(what);
    if (n === 0n || n > BigInt(Number.MAX_SAFE_INTEGER)) throw cursor.fail(`${what} has a dimension of ${n}`);
    shape.unshift(Number(n));
  }
  const code = cursor.u32(what);
  const dtype = DTYPES.get(code);
  if (dtype === undefined) {
    const served = Object.values(GGML_TYPES).map((type) => type.name);
    throw new CheckpointError(
      `${cursor.file}: tensor ${name} has type ${UNSERVED_GGML_TYPES[code] ?? code}; served are ${served.join(', ')}: quantize the model to one of these`,
      { details: { file: cursor.file, name, type: code } },
    );
  }
  return { dtype, shape, offset: cursor.u64(what) };
}

interface Place {
  readonly file: string;
  readonly alignment: number;
  readonly dataStart: number;
  readonly fileBytes: number;
}

function locate(
  name: string,
  { dtype, shape, offset }: TensorInfo,
  place: Place,
): TensorSource & { readonly dtype: GgufDtype } {
  const { file, alignment, dataStart, fileBytes } = place;
  const fail = (why: string): CheckpointError =>
    new CheckpointError(`${file}: tensor ${name} ${why}; download the file again`, { details: { file, name } });
  const shown = `of shape [${shape.join(', ')}]`;
  const { name: typeName, blockValues } = GGML_TYPES[dtype];
  const sizeBytes = ggufTensorBytes(dtype, shape);
  if (sizeBytes === null) throw fail(`${shown} has rows that are no whole ${typeName} blocks of ${blockValues}`);
  if (!Number.isSafeInteger(sizeBytes)) throw fail(`${shown} is beyond any file`);
  const dataBytes = Math.max(0, fileBytes - dataStart);
  if (offset % BigInt(alignment) !== 0n) throw fail(`lies at ${offset}, which is no multiple of ${alignment}`);
  if (offset + BigInt(sizeBytes) > BigInt(dataBytes))
    throw fail(`${shown} and type ${typeName} takes ${sizeBytes} bytes at ${offset} of ${dataBytes} data bytes`);
  return { name, file, offsetBytes: dataStart + Number(offset), sizeBytes, dtype, shape };
}
