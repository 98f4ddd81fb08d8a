import { Option } from 'commander';
import type { CommandName, Flag } from './flag.ts';
import { type FlagKey, flagKeys, flagName, flags } from './flag-table.ts';

/** The texts that one source has for each flag. */
export type FlagTexts = Partial<Readonly<Record<FlagKey, readonly string[]>>>;

export function flagOf(key: FlagKey): Flag<unknown> {
  return flags[key];
}

export function flagsOf(command: CommandName): FlagKey[] {
  return flagKeys.filter((key) => {
    const { commands } = flagOf(key);
    return commands.includes(command) || (command === 'doctor' && commands.includes('node'));
  });
}

/** commander's options for a command. They collect texts only: what these may be is judged in one place for all sources. */
export function optionsOf(command: CommandName): Option[] {
  return flagsOf(command).flatMap((key) => {
    const { argument, doc, aliases, offAliases, group, isList } = flagOf(key);
    const also = aliases.length > 0 ? `; also ${aliases.join(', ')}` : '';
    const description = `${doc}${also} (default: ${defaultText(key)})`;
    const name = flagName(key);
    if (argument !== null) {
      const option = new Option(`--${name} ${argument}`, description).helpGroup(`${group}:`);
      return [isList ? option : option.argParser((value) => value)];
    }
    const off = [`--no-${name}`, ...offAliases].join(', ');
    return [
      new Option(`--${name}`, `${description}; off: ${off}`).helpGroup(`${group}:`),
      new Option(`--no-${name}`).hideHelp(),
    ];
  });
}

/** What commander found on the command line. */
export function argvTexts(options: Readonly<Record<string, unknown>>): FlagTexts {
  return Object.fromEntries(
    flagKeys.flatMap((key) => {
      const value = options[key];
      if (value === undefined) return [];
      const values: readonly unknown[] = Array.isArray(value) ? value : [value];
      return [[key, values.map(scalarText)]];
    }),
  );
}

/** commander gives texts, and true or false for a switch. */
function scalarText(value: unknown): string {
  return typeof value === 'boolean' ? String(value) : typeof value === 'string' ? value : '';
}

/** Aliases become names, and `--max_model_len` becomes `--max-model-len`, as vLLM takes them. */
export function normaliseArgv(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((token, i) => {
    if (!token.startsWith('-') || (end >= 0 && i >= end)) return token;
    const [, name = token, rest = ''] = /^([^=]*)(=.*)?$/s.exec(token) ?? [];
    const dashed = name.startsWith('--') ? name.replaceAll('_', '-') : name;
    return (aliasNames.get(dashed) ?? dashed) + rest;
  });
}

/** As arguments of another command. */
export function asArguments(texts: FlagTexts): string[] {
  return flagKeys.flatMap((key) =>
    (texts[key] ?? []).map((value) => {
      if (flagOf(key).argument !== null) return `--${flagName(key)}=${value}`;
      return value === 'true' ? `--${flagName(key)}` : `--no-${flagName(key)}`;
    }),
  );
}

export function defaultText(key: FlagKey): string {
  const { default: value, defaultDoc } = flagOf(key);
  if (defaultDoc !== null) return defaultDoc;
  return value === true ? 'on' : value === false ? 'off' : String(value);
}

const aliasNames: ReadonlyMap<string, string> = new Map(
  flagKeys.flatMap((key) => {
    const { aliases, offAliases } = flagOf(key);
    return [
      ...aliases.map((alias) => [alias, `--${flagName(key)}`] as const),
      ...offAliases.map((alias) => [alias, `--no-${flagName(key)}`] as const),
    ];
  }),
);
