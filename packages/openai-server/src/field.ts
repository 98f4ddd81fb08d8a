import { z } from 'zod';

/** One field of a request body: what it takes, and the words that errors and documentation use for that. */
export interface Field<S extends z.ZodType = z.ZodType> {
  readonly schema: S;
  /** Completes "must be …". */
  readonly expected: string;
  readonly type: string;
  readonly min: string;
  readonly max: string;
  readonly default: string;
  readonly meaning: string;
}

export type FieldTable = Readonly<Record<string, Field>>;

interface Words {
  /** What holds where the field is absent or null. */
  readonly default: string;
  readonly meaning: string;
}

interface Range {
  readonly min: number;
  readonly max: number;
}

interface Length {
  readonly minLength?: number;
  readonly maxLength: number;
}

const none = '';

/** Finite, from `min` (or above `above`) to `max`. */
export function number(
  spec: Words & ({ readonly min: number } | { readonly above: number }) & { readonly max: number },
): Field<z.ZodNumber> {
  const { max } = spec;
  const isOpen = 'above' in spec;
  const low = isOpen ? spec.above : spec.min;
  const schema = isOpen ? z.number().gt(low).max(max) : z.number().min(low).max(max);
  const expected = isOpen ? `a number above ${low}, at most ${max}` : `a number from ${low} to ${max}`;
  return { ...words(spec), schema, expected, type: 'number', min: isOpen ? `above ${low}` : `${low}`, max: `${max}` };
}

export function int({ min, max, ...rest }: Words & Range): Field<z.ZodInt> {
  const schema = z.int().min(min).max(max);
  return {
    ...words(rest),
    schema,
    expected: wholeNumber({ min, max }),
    type: 'whole number',
    min: `${min}`,
    max: `${max}`,
  };
}

export function bool(spec: Words): Field<z.ZodBoolean> {
  return { ...words(spec), schema: z.boolean(), expected: 'true or false', type: 'boolean', min: none, max: none };
}

export function text({ pattern, ...spec }: Words & Length & { readonly pattern?: RegExp }): Field<z.ZodType<string>> {
  const schema = pattern === undefined ? textOf(spec) : textOf(spec).regex(pattern);
  const expected = `text of ${lengths(spec)}${pattern === undefined ? '' : ` that matches ${pattern.source}`}`;
  return {
    ...words(spec),
    schema,
    expected,
    type: 'text',
    min: `${spec.minLength ?? 1} characters`,
    max: `${spec.maxLength}`,
  };
}

export function oneOf<const T extends readonly string[]>(values: T, spec: Words): Field<z.ZodType<T[number]>> {
  const names = values.map((value) => `"${value}"`).join(', ');
  const schema = z.enum(values) as unknown as z.ZodType<T[number]>;
  return { ...words(spec), schema, expected: `one of ${names}`, type: names, min: none, max: none };
}

export function intList(
  spec: Words & Range & { readonly minItems?: number; readonly maxItems: number },
): Field<z.ZodType<number[]>> {
  const { min, max, minItems = 0, maxItems } = spec;
  return {
    ...words(spec),
    schema: listOf(z.int().min(min).max(max), { minItems, maxItems }),
    expected: `a list of ${minItems} to ${maxItems} items, each ${wholeNumber({ min, max })}`,
    type: 'list of whole numbers',
    min: `${minItems} items, each ${min}`,
    max: `${maxItems} items, each ${max}`,
  };
}

export function textList(spec: Words & Length & { readonly maxItems: number }): Field<z.ZodType<string[]>> {
  const { maxItems } = spec;
  return {
    ...words(spec),
    schema: listOf(textOf(spec), { minItems: 0, maxItems }),
    expected: `a list of at most ${maxItems} texts, each of ${lengths(spec)}`,
    type: 'list of texts',
    min: `each ${spec.minLength ?? 1} characters`,
    max: `${maxItems} items, each ${spec.maxLength}`,
  };
}

/** A field with a shape of its own. */
export function shaped<S extends z.ZodType>(
  schema: S,
  spec: Words & { readonly expected: string; readonly type: string; readonly min?: string; readonly max?: string },
): Field<S> {
  return {
    ...words(spec),
    schema,
    expected: spec.expected,
    type: spec.type,
    min: spec.min ?? none,
    max: spec.max ?? none,
  };
}

/** A list whose length is looked at first, so that a long one costs nothing. */
export function listOf<T>(
  item: z.ZodType<T>,
  bounds: { readonly minItems: number; readonly maxItems: number },
): z.ZodType<T[]> {
  const { minItems, maxItems } = bounds;
  const length = z.custom<unknown[]>((v) => Array.isArray(v) && v.length >= minItems && v.length <= maxItems);
  return length.pipe(z.array(item) as z.ZodType<T[], unknown[]>);
}

/** Well-formed text: half a surrogate pair has no UTF-8. */
export function textOf({ minLength = 1, maxLength }: Length): z.ZodString {
  return z
    .string()
    .min(minLength)
    .max(maxLength)
    .refine((value) => value.isWellFormed());
}

type Shape<F extends FieldTable> = { [K in keyof F]: z.ZodOptional<z.ZodNullable<F[K]['schema']>> };

/** A shape in which each field may be absent or null. */
export function optionalShape<F extends FieldTable>(fields: F): Shape<F> {
  return Object.fromEntries(Object.entries(fields).map(([name, { schema }]) => [name, schema.nullish()])) as Shape<F>;
}

function words({ default: fallback, meaning }: Words): Words {
  return { default: fallback, meaning };
}

function wholeNumber({ min, max }: Range): string {
  return `a whole number from ${min} to ${max}`;
}

function lengths({ minLength = 1, maxLength }: Length): string {
  return `${minLength} to ${maxLength} characters`;
}
