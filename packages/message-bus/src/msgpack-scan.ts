import { DEPTH_MAX } from './plain-data.ts';

/** Values in one frame: bounds the objects that a small frame can make of empty arrays and maps. */
const VALUES_MAX = 1_000_000;

/** Says why bytes from a peer must not be decoded, or null when they are one whole msgpack value of plain data.
 *
 *  The decoder has extensions that build class instances and compile record readers, and it cannot be told to refuse
 *  them; it also recurses as deep as its input. So every frame is walked first: no extension types, no value cut short,
 *  nothing after the value, string keys only, nesting and value count capped. The walk does not recurse. */
export function whyUnsafeMsgpack(bytes: Uint8Array): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.byteLength;
  // Per open container: values still to come, and whether it is a map (whose even positions from the end are keys).
  const left: number[] = [];
  const isMap: boolean[] = [];
  let position = 0;
  let values = 0;

  for (;;) {
    if (position >= end) return 'cut short';
    if (++values > VALUES_MAX) return `more than ${VALUES_MAX} values`;
    const token = view.getUint8(position);
    const headBytes = HEAD_BYTES[token] ?? 0;
    if (headBytes === 0) return `type 0x${token.toString(16)} is not allowed`;
    if (position + headBytes > end) return 'cut short';
    const innermost = left.length - 1;
    const isKey = innermost >= 0 && isMap[innermost] === true && (left[innermost] ?? 0) % 2 === 0;
    if (isKey && !isString(token)) return 'a map key is no string';

    const size = sizeOf(view, position, token);
    position += headBytes;
    if (isContainer(token)) {
      const members = isMapToken(token) ? size * 2 : size;
      if (members > end - position) return 'cut short';
      if (left.length >= DEPTH_MAX + ENVELOPE_DEPTH) return `nested deeper than ${DEPTH_MAX}`;
      left.push(members);
      isMap.push(isMapToken(token));
    } else {
      position += size;
      if (position > end) return 'cut short';
      consumeOne(left);
    }
    while (left.length > 0 && left.at(-1) === 0) {
      left.pop();
      isMap.pop();
      consumeOne(left);
    }
    if (left.length === 0) return position === end ? null : `${end - position} bytes after the value`;
  }
}

/** The envelope array is around every message. */
const ENVELOPE_DEPTH = 1;

function consumeOne(left: number[]): void {
  const last = left.length - 1;
  if (last >= 0) left[last] = (left[last] ?? 0) - 1;
}

/** Bytes of a token and its length field or number; 0 for what is not allowed (extensions and the unused 0xc1). */
const HEAD_BYTES = Uint8Array.from({ length: 256 }, (_, token) => {
  if (token < 0xc0 || token >= 0xe0) return 1;
  return (
    {
      0xc0: 1,
      0xc2: 1,
      0xc3: 1, // nil, false, true
      0xc4: 2,
      0xc5: 3,
      0xc6: 5, // bin
      0xca: 5,
      0xcb: 9, // float
      0xcc: 2,
      0xcd: 3,
      0xce: 5,
      0xcf: 9,
      0xd0: 2,
      0xd1: 3,
      0xd2: 5,
      0xd3: 9, // int
      0xd9: 2,
      0xda: 3,
      0xdb: 5, // str
      0xdc: 3,
      0xdd: 5,
      0xde: 3,
      0xdf: 5, // array, map
    }[token] ?? 0
  );
});

/** Bytes of a string or binary, members of an array, pairs of a map; 0 for the rest. The length field is in bounds. */
function sizeOf(view: DataView, position: number, token: number): number {
  if (token >= 0x80 && token < 0xa0) return token & 0x0f;
  if (token >= 0xa0 && token < 0xc0) return token & 0x1f;
  switch (token) {
    case 0xc4:
    case 0xd9:
      return view.getUint8(position + 1);
    case 0xc5:
    case 0xda:
    case 0xdc:
    case 0xde:
      return view.getUint16(position + 1);
    case 0xc6:
    case 0xdb:
    case 0xdd:
    case 0xdf:
      return view.getUint32(position + 1);
    default:
      return 0;
  }
}

function isString(token: number): boolean {
  return (token >= 0xa0 && token < 0xc0) || (token >= 0xd9 && token <= 0xdb);
}

function isMapToken(token: number): boolean {
  return (token >= 0x80 && token < 0x90) || token === 0xde || token === 0xdf;
}

function isContainer(token: number): boolean {
  return (token >= 0x80 && token < 0xa0) || (token >= 0xdc && token <= 0xdf);
}
