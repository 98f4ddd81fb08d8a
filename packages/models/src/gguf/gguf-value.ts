/** The types of a GGUF file's metadata; the index of each is what the file says. */
export const GGUF_VALUE_TYPES = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;

export type GgufTypeName = (typeof GGUF_VALUE_TYPES)[number];
type NumberType = Exclude<GgufTypeName, 'bool' | 'string' | 'array'>;

/** A value to write, behind its type. Integers are at most 2 ** 53. */
export type GgufValue =
  | readonly [NumberType, number]
  | readonly ['bool', boolean]
  | readonly ['string', string]
  | readonly [`${NumberType}[]`, readonly number[]]
  | readonly ['bool[]', readonly boolean[]]
  | readonly ['string[]', readonly string[]];
