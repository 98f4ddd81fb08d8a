import { access, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { TensorDtype, TensorSource } from '@skein/native';
import { z } from 'zod';
import { CheckpointError } from './errors.ts';
import { parseFields, readJsonFile } from './json-file.ts';
import { refuseOverlap } from './tensor-overlap.ts';

export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** As Hugging Face's own reader. */
const HEADER_BYTES_MAX = 100_000_000;
const LENGTH_BYTES = 8;

/** Types of safetensors, and bytes of an element. */
const DTYPES: Readonly<Record<string, readonly [TensorDtype, number]>> = {
  F32: ['f32', 4],
  F16: ['f16', 2],
  BF16: ['bf16', 2],
  F8_E4M3: ['f8e4m3', 1],
  I8: ['i8', 1],
  U8: ['u8', 1],
  I32: ['i32', 4],
  I64: ['i64', 8],
};

const size = z.int().min(0);
const entrySchema = z.object({
  dtype: z.string().max(20),
  shape: z.array(size).max(8),
  data_offsets: z.tuple([size, size]),
});

// A shard is a plain name in the checkpoint's own directory.
const indexSchema = z.object({
  weight_map: z.record(
    z.string().max(1000),
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,250}\.safetensors$/, 'a shard must be a plain file name'),
  ),
});

/** All tensors of a directory of safetensors files, by name: those of model.safetensors, else those that
 *  model.safetensors.index.json names. Reads headers only. Throws CheckpointError naming file and tensor. */
export async function readSafetensorsDirectory(dir: string): Promise<Map<string, TensorSource>> {
  const single = join(dir, SINGLE_FILE);
  if (await exists(single)) return readSafetensors(single);
  const indexFile = join(dir, INDEX_FILE);
  if (!(await exists(indexFile))) {
    throw new CheckpointError(
      `${dir}: holds neither ${SINGLE_FILE} nor ${INDEX_FILE}; give a directory with a safetensors checkpoint, or a GGUF file`,
      { details: { dir } },
    );
  }
  const { weight_map: weightMap } = parseFields(indexSchema, await readJsonFile(indexFile, CheckpointError), {
    file: indexFile,
    ErrorClass: CheckpointError,
  });
  const tensors = new Map<string, TensorSource>();
  for (const shard of new Set(Object.values(weightMap))) {
    for (const [name, tensor] of await readSafetensors(join(dir, shard))) {
      if (weightMap[name] !== shard) {
        throw new CheckpointError(
          `${tensor.file}: holds tensor ${name}, which ${INDEX_FILE} places in ${weightMap[name] ?? 'no file'}; download the checkpoint again`,
          { details: { name, shard } },
        );
      }
      tensors.set(name, tensor);
    }
  }
  const lost = Object.keys(weightMap).find((name) => !tensors.has(name));
  if (lost !== undefined) {
    throw new CheckpointError(
      `${join(dir, weightMap[lost] ?? '')}: lacks tensor ${lost}, which ${INDEX_FILE} places there; download the checkpoint again`,
      { details: { name: lost } },
    );
  }
  return tensors;
}

/** Tensors of one file; every offset is inside it and no two tensors share a byte. */
export async function readSafetensors(file: string): Promise<Map<string, TensorSource>> {
  const { header, dataStart, fileBytes } = await readHeader(file);
  const tensors = new Map<string, TensorSource>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== '__metadata__') tensors.set(name, tensorSource(name, entry, { file, dataStart, fileBytes }));
  }
  refuseOverlap(file, tensors.values());
  return tensors;
}

interface Bounds {
  readonly file: string;
  readonly dataStart: number;
  readonly fileBytes: number;
}

function tensorSource(name: string, entry: unknown, bounds: Bounds): TensorSource {
  const { file, dataStart, fileBytes } = bounds;
  const fail = (why: string): CheckpointError =>
    new CheckpointError(`${file}: tensor ${name} ${why}; download the file again`, { details: { file, name } });
  const {
    dtype: dtypeName,
    shape,
    data_offsets,
  } = parseFields(entrySchema, entry, { file: `${file}: tensor ${name}`, ErrorClass: CheckpointError });
  const [begin, end] = data_offsets;
  const known = DTYPES[dtypeName];
  if (known === undefined) {
    throw new CheckpointError(
      `${file}: tensor ${name} has dtype ${dtypeName}; served are ${Object.keys(DTYPES).join(', ')}`,
      { details: { file, name, dtype: dtypeName } },
    );
  }
  if (begin > end || end > fileBytes - dataStart)
    throw fail(`lies at ${begin} to ${end} of ${fileBytes - dataStart} data bytes`);
  const [dtype, elementBytes] = known;
  let sizeBytes = elementBytes;
  for (const n of shape) {
    sizeBytes *= n;
    if (!Number.isSafeInteger(sizeBytes)) throw fail(`has shape [${shape.join(', ')}], which is beyond any file`);
  }
  if (sizeBytes !== end - begin)
    throw fail(`of shape [${shape.join(', ')}] and dtype ${dtypeName} needs ${sizeBytes} bytes and has ${end - begin}`);
  return { name, file, offsetBytes: dataStart + begin, sizeBytes, dtype, shape };
}

async function readHeader(file: string): Promise<{ header: object; dataStart: number; fileBytes: number }> {
  try {
    await using handle = await open(file, 'r');
    const { size: fileBytes } = await handle.stat();
    const length = Buffer.alloc(LENGTH_BYTES);
    const { bytesRead } = await handle.read(length, 0, LENGTH_BYTES, 0);
    const headerBytes = bytesRead === LENGTH_BYTES ? length.readBigUInt64LE() : 0n;
    if (headerBytes < 2n || headerBytes > BigInt(HEADER_BYTES_MAX) || headerBytes > BigInt(fileBytes - LENGTH_BYTES)) {
      throw new CheckpointError(
        `${file}: header length ${headerBytes} does not fit a file of ${fileBytes} bytes (at most ${HEADER_BYTES_MAX}); it is cut short or no safetensors file`,
        { details: { file } },
      );
    }
    const text = Buffer.alloc(Number(headerBytes));
    let at = 0;
    while (at < text.length) {
      const { bytesRead: n } = await handle.read(text, at, text.length - at, LENGTH_BYTES + at);
      if (n === 0) throw new CheckpointError(`${file}: ends within its header`, { details: { file } });
      at += n;
    }
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
    if (typeof header !== 'object' || header === null || Array.isArray(header))
      throw new CheckpointError(`${file}: header is no JSON object`, { details: { file } });
    return { header, dataStart: LENGTH_BYTES + text.length, fileBytes };
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new CheckpointError(`${file}: cannot be read as safetensors (${why}); download it again`, {
      cause: error,
      details: { file },
    });
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
