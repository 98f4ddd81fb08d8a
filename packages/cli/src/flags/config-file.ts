import { readFileSync } from 'node:fs';
import { ConfigError } from '@skein/agent';
import { parse, YAMLParseError } from 'yaml';
import { closest } from './closest.ts';
import { flagKeys, flagName } from './flag-table.ts';
import type { FlagTexts } from './argv.ts';

const SIZE_CHARS_MAX = 1_000_000;

/** Reads a YAML file of flag names and values; dashes or underscores. Names of flags that another command takes are fine: one
 *  file may serve several. @throws ConfigError ERR_CONFIG_FILE naming file and place. */
export function readConfigFile(file: string): FlagTexts {
  const wrong = (problem: string, cause?: unknown): ConfigError =>
    new ConfigError('ERR_CONFIG_FILE', `${file}: ${problem}`, { cause });
  let document: unknown;
  try {
    const content = readFileSync(file, 'utf8');
    if (content.length > SIZE_CHARS_MAX) throw wrong(`has ${content.length} characters; at most ${SIZE_CHARS_MAX}`);
    document = parse(content, { maxAliasCount: 0 }) as unknown;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw wrong(
      error instanceof YAMLParseError ? `is no YAML: ${reason.replace(/:$/, '')}` : `cannot be read: ${reason}`,
      error,
    );
  }
  if (document === null) return {};
  if (typeof document !== 'object' || Array.isArray(document))
    throw wrong('must hold flag names and values, such as max-model-len: 4096');
  return Object.fromEntries(
    Object.entries(document).map(([typed, value]) => {
      const name = typed.replaceAll('_', '-');
      const key = flagKeys.find((k) => flagName(k) === name);
      if (key === undefined) {
        const near = closest(name, flagKeys.map(flagName));
        throw wrong(`${typed} is no flag${near === null ? '; docs/flags.md has them all' : `; did you mean ${near}?`}`);
      }
      const texts = textsOf(value);
      if (texts === null) throw wrong(`${typed} must be one value or a list of values`);
      return [key, texts];
    }),
  );
}

function textsOf(value: unknown): string[] | null {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (!values.every((v) => ['string', 'number', 'boolean'].includes(typeof v))) return null;
  return values.map(String);
}
