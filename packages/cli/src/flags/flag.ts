import type { VariableKey } from '@skein/telemetry';

/** Commands that run processes of ours. */
export type CommandName = 'up' | 'serve' | 'node' | 'router' | 'doctor' | 'plan' | 'make-checkpoint';

/** Headings of `--help` and of docs/flags.md, in their order. */
export const flagGroups = [
  'Model',
  'KV cache',
  'Scheduler',
  'Parallel',
  'API',
  'Mesh',
  'Observability',
  'Plan',
] as const;
export type FlagGroup = (typeof flagGroups)[number];

/** What a user may set: on the command line, by variable, in a config file. */
export interface Flag<T> {
  readonly group: FlagGroup;
  /** One line; shown by --help and in docs/flags.md. */
  readonly doc: string;
  /** Which commands take it; doctor takes those of node as well. */
  readonly commands: readonly CommandName[];
  /** The processes to which `skein up` passes it on. A secret goes by its variable, which other users cannot read. */
  readonly upPassesTo: readonly ('node' | 'router')[];
  readonly default: T;
  /** Where `default` does not show what happens. */
  readonly defaultDoc: string | null;
  /** The value's name in --help, with what it may be; null for a switch, which is --name or --no-name. */
  readonly argument: string | null;
  /** Whether it may be given several values. */
  readonly isList: boolean;
  /** Other spellings, dashes included. */
  readonly aliases: readonly string[];
  /** Other spellings of --no-name. */
  readonly offAliases: readonly string[];
  /** The first that is set counts. */
  readonly variables: readonly FlagVariable[];
  readonly isSecret: boolean;
  /** @throws FlagValueError. */
  parse(texts: readonly string[]): T;
}

export interface FlagVariable {
  readonly key: VariableKey;
  /** From the variable's text to the flag's. */
  readonly map?: (text: string) => string;
}

/** What all flags are described by; the rest has defaults. */
export interface About<D> extends Partial<
  Pick<Flag<unknown>, 'upPassesTo' | 'defaultDoc' | 'aliases' | 'offAliases' | 'variables' | 'isSecret'>
> {
  readonly group: FlagGroup;
  readonly doc: string;
  readonly commands: readonly CommandName[];
  readonly default: D;
  /** Ends the message of every refusal: why, or what can be had instead. */
  readonly refusal?: string;
}

/** A value that a flag does not take; the message completes "--name is …; ". */
export class FlagValueError extends Error {}

type Shape<T> = Pick<Flag<T>, 'argument' | 'isList' | 'parse'>;

function flag<T>({ refusal, ...about }: About<T>, shape: Shape<T>): Flag<T> {
  return {
    upPassesTo: [],
    defaultDoc: null,
    aliases: [],
    offAliases: [],
    variables: [],
    isSecret: false,
    ...about,
    ...shape,
    parse: refusal === undefined ? shape.parse : (texts) => explained(() => shape.parse(texts), refusal),
  };
}

function explained<T>(parse: () => T, refusal: string): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof FlagValueError
      ? new FlagValueError(`${error.message}; ${refusal}`, { cause: error })
      : error;
  }
}

/** A flag of one value. */
function single<T>(about: About<T>, argument: string, parse: (text: string) => T): Flag<T> {
  return flag(about, {
    argument,
    isList: false,
    parse: (texts) => {
      const [text, ...more] = texts;
      if (text === undefined || more.length > 0) throw new FlagValueError('it takes one value');
      return parse(text);
    },
  });
}

export function text<D extends string | null>(argument: string, about: About<D>): Flag<string | D> {
  return single<string | D>(about, argument, (value) => {
    if (value === '') throw new FlagValueError('it may not be empty');
    return value;
  });
}

/** A switch that vLLM has and that is always on here; `refusal` says why. */
export function alwaysOn(about: Omit<About<true>, 'default'> & { readonly refusal: string }): Flag<true> {
  return flag<true>(
    { ...about, default: true },
    {
      argument: null,
      isList: false,
      parse: ([value = '']) => {
        if (value === 'true') return true;
        throw new FlagValueError('it cannot be turned off');
      },
    },
  );
}

/** Of http or https. */
export function url<D extends string | null>(about: About<D>): Flag<string | D> {
  return single<string | D>(about, '<url>', (value) => {
    const parsed = URL.parse(value);
    if (parsed?.protocol !== 'http:' && parsed?.protocol !== 'https:')
      throw new FlagValueError('it must be a URL of http or https');
    return value;
  });
}

/** Several values; with `separator` one text may hold several, too. */
export function list<D extends readonly string[] | null>(
  argument: string,
  about: About<D> & { readonly separator?: string },
): Flag<readonly string[] | D> {
  const { separator, ...rest } = about;
  return flag<readonly string[] | D>(rest, {
    argument,
    isList: true,
    parse: (texts) => {
      const values = separator === undefined ? texts : texts.flatMap((value) => value.split(separator));
      if (values.length === 0 || values.includes('')) throw new FlagValueError('it takes one or more values');
      return values;
    },
  });
}

const scales: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

/** A whole number; as in vLLM `8k` is 8000 and `8K` is 8192. */
export function integer<D extends number | null>(
  range: { readonly argument: string; readonly min: number; readonly max?: number },
  about: About<D>,
): Flag<number | D> {
  const { argument, min, max = Number.MAX_SAFE_INTEGER } = range;
  return single<number | D>(about, argument, (value) => {
    const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)([kmgtKMGT]?)$/.exec(value) ?? [];
    const number = Number(digits || NaN) * (scales[unit] ?? NaN);
    if (!Number.isInteger(number) || number < min || number > max)
      throw new FlagValueError(
        `it must be an integer ${max < Number.MAX_SAFE_INTEGER ? `from ${min} to ${max}` : `of at least ${min}, such as 4096 or 4K`}`,
      );
    return number;
  });
}

const byteUnits: Readonly<Record<string, number>> = {
  '': 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** A size in bytes, such as 80GiB or 85.9GB. */
export function bytes<D extends number | null>(about: About<D>): Flag<number | D> {
  return single<number | D>(about, '<bytes>', (value) => {
    const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([KMGT]i?B)?$/.exec(value) ?? [];
    const number = Math.round(Number(digits || NaN) * (byteUnits[unit] ?? NaN));
    if (!(number >= 1 && Number.isSafeInteger(number)))
      throw new FlagValueError('it must be a size of at least 1 byte, such as 80GiB or 80GB');
    return number;
  });
}

/** Above `above`, up to `max`. */
export function real<D extends number | null>(
  range: { readonly argument: string; readonly above: number; readonly max: number },
  about: About<D>,
): Flag<number | D> {
  const { argument, above, max } = range;
  return single<number | D>(about, argument, (value) => {
    const number = value.trim() === '' ? NaN : Number(value);
    if (!(number > above && number <= max))
      throw new FlagValueError(`it must be a number above ${above} and up to ${max}`);
    return number;
  });
}

interface Synonyms<V> {
  /** Other words for one of the values. */
  readonly synonyms?: Readonly<Record<string, V>>;
}

/** One of `values`. */
export function choice<const V extends string>(
  values: readonly V[],
  about: About<NoInfer<V>> & Synonyms<NoInfer<V>>,
): Flag<V>;
export function choice<const V extends string>(values: readonly V[], about: About<null>): Flag<V | null>;
export function choice(values: readonly string[], about: About<string | null> & Synonyms<string>): Flag<string | null> {
  const { synonyms = {}, ...rest } = about;
  return single({ ...rest, doc: `${about.doc}: ${listed(values)}` }, '<word>', (value) => {
    const chosen = values.includes(value) ? value : synonyms[value];
    if (chosen === undefined) throw new FlagValueError(`choose ${listed(values)}`);
    return chosen;
  });
}

export function toggle<D extends boolean>(about: About<D>): Flag<boolean> {
  return flag<boolean>(about, {
    argument: null,
    isList: false,
    parse: ([value = '']) => {
      if (value === 'true') return true;
      if (value === 'false') return false;
      throw new FlagValueError('choose true or false');
    },
  });
}

/** Numbers of layers like 3,5 or 10.5,5.5. */
export function layerCounts<D extends readonly number[] | null>(
  argument: string,
  about: About<D>,
): Flag<readonly number[] | D> {
  return single<readonly number[] | D>(about, argument, (value) => {
    const numbers = value.split(',').map((part) => (/^\d+(\.\d+)?$/.test(part.trim()) ? Number(part) : 0));
    if (numbers.some((n) => n < 0.5 || !Number.isInteger(2 * n)))
      throw new FlagValueError('it must be counts above 0 in steps of a half, such as 3,5 or 10.5,5.5');
    return numbers;
  });
}

function listed(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}
