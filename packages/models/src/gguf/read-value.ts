import type { HeaderCursor } from './header-cursor.ts';
import { GGUF_VALUE_TYPES, type GgufTypeName } from './gguf-value.ts';

/** 64-bit integers beyond 2 ** 53 come as bigint. */
export type GgufMetadataValue = number | bigint | boolean | string | readonly GgufMetadataValue[];

export interface ReadValueOptions {
  /** False passes over arrays, and gives empty ones. */
  readonly arrays: boolean;
}

const DEPTH_MAX = 4;

/** Least bytes of an item. */
const ITEM_BYTES: Readonly<Record<GgufTypeName, number>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
  string: 8,
  array: 12,
};

/** The value of `key`, behind its type. */
export function readValue(cursor: HeaderCursor, key: string, options: ReadValueOptions): GgufMetadataValue {
  return readTyped(cursor, readType(cursor, key), { ...options, key, depth: 0 });
}

interface Place extends ReadValueOptions {
  readonly key: string;
  readonly depth: number;
}

function readType(cursor: HeaderCursor, key: string): GgufTypeName {
  const code = cursor.u32(`the type of ${key}`);
  const type = GGUF_VALUE_TYPES[code];
  if (type !== undefined) return type;
  throw cursor.fail(`${key} has type ${code}; there are 0 to ${GGUF_VALUE_TYPES.length - 1}`);
}

function readTyped(cursor: HeaderCursor, type: GgufTypeName, place: Place): GgufMetadataValue {
  const { key } = place;
  switch (type) {
    case 'u8':
    case 'i8':
      return cursor.small(1, type === 'i8', key);
    case 'u16':
    case 'i16':
      return cursor.small(2, type === 'i16', key);
    case 'u32':
      return cursor.u32(key);
    case 'i32':
      return cursor.i32(key);
    case 'f32':
      return cursor.f32(key);
    case 'f64':
      return cursor.f64(key);
    case 'u64':
      return safe(cursor.u64(key));
    case 'i64':
      return safe(cursor.i64(key));
    case 'bool':
      return readBool(cursor, key);
    case 'string':
      return cursor.text(key);
    case 'array':
      return readArray(cursor, place);
  }
}

function safe(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function readBool(cursor: HeaderCursor, key: string): boolean {
  const byte = cursor.small(1, false, key);
  if (byte > 1) throw cursor.fail(`${key} is ${byte}, and a bool is 0 or 1`);
  return byte === 1;
}

function readArray(cursor: HeaderCursor, place: Place): readonly GgufMetadataValue[] {
  const { key, depth, arrays } = place;
  if (depth === DEPTH_MAX) throw cursor.fail(`${key} has arrays in arrays more than ${DEPTH_MAX} deep`);
  const type = readType(cursor, key);
  const count = cursor.count(`the length of ${key}`, ITEM_BYTES[type]);
  cursor.claimItems(count, key);
  const inner = { ...place, depth: depth + 1 };
  if (arrays) {
    const items: GgufMetadataValue[] = [];
    for (let i = 0; i < count; i++) items.push(readTyped(cursor, type, inner));
    return items;
  }
  if (type === 'array') for (let i = 0; i < count; i++) readArray(cursor, inner);
  else if (type === 'string') for (let i = 0; i < count; i++) cursor.skipText(key);
  else cursor.skip(count * ITEM_BYTES[type], key);
  return [];
}
