// The package's main entry loads a native string extractor when it finds one; this entry is JavaScript only, and bytes
// from peers are not worth native code.
// Its types point nowhere under this module resolution, so they are taken from the main entry.
import type { Options, Packr } from 'msgpackr';
import { Packr as PlainPackr } from 'msgpackr/pack';
import { MessageBusError } from './errors.ts';
import { whyUnsafeMsgpack } from './msgpack-scan.ts';
import { checkPlainData } from './plain-data.ts';

// `skipValues` is missing from the package's types.
const options: Options & { skipValues: unknown[] } = {
  useRecords: false,
  mapsAsObjects: true,
  moreTypes: false,
  int64AsType: 'number',
  encodeUndefinedAsNil: true,
  skipValues: [undefined],
  variableMapSize: true,
  // A binary gets memory of its own, at offset 0: callers view it as i32 words, and frames are not kept alive by parts.
  copyBuffers: true,
};
const packr = new (PlainPackr as typeof Packr)(options);

/** Encodes without checking `value`, which must be plain data. */
export function encodeTrusted(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** @throws ERR_NOT_ENCODABLE naming the part that is no plain data. */
export function encode(value: unknown): Uint8Array {
  checkPlainData(value);
  return encodeTrusted(value);
}

/** Decodes one value from a peer. Binaries come out as Uint8Array with memory of their own.
 *  @throws ERR_MALFORMED saying what was wrong. */
export function decode(bytes: Uint8Array): unknown {
  const reason = whyUnsafeMsgpack(bytes);
  if (reason !== null) throw new MessageBusError('ERR_MALFORMED', `frame of ${bytes.byteLength} bytes: ${reason}`);
  // A view without Buffer's class, so that copies of parts are plain Uint8Arrays too.
  return packr.unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)) as unknown;
}
