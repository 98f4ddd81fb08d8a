import { ConfigError } from '@skein/agent';
import { type VariableKey, variables } from '@skein/telemetry';
import { flagOf, flagsOf, type FlagTexts } from './argv.ts';
import { readConfigFile } from './config-file.ts';
import { type CommandName, FlagValueError } from './flag.ts';
import { type FlagKey, flagKeys, flagName, type Settings } from './flag-table.ts';

/** Where a value came from, strongest first. */
export type Source = 'argv' | 'environment' | 'config file' | 'default';

export interface Origin {
  readonly source: Source;
  /** The flag, the variable or the file; '' for a default. */
  readonly place: string;
  /** As it was given; empty for a default. */
  readonly texts: readonly string[];
}

export interface Resolved {
  readonly command: CommandName;
  readonly settings: Settings;
  readonly origins: Readonly<Record<FlagKey, Origin>>;
}

export interface Sources {
  readonly argv: FlagTexts;
  /** --config, else SKEIN_CONFIG. */
  readonly configFile: string | null;
  readonly variable: (key: VariableKey) => string | null;
}

/** argv over environment over config file over default. @throws ConfigError ERR_OPTION, ERR_VARIABLE or ERR_CONFIG_FILE, naming
 *  the flag, its value and what it may be. */
export function resolve(command: CommandName, { argv, configFile, variable }: Sources): Resolved {
  const file = configFile ?? variable('config');
  const fileTexts = file === null ? {} : readConfigFile(file);
  const taken = new Set(flagsOf(command));
  const origins = new Map<FlagKey, Origin>();
  const settings: Partial<Record<FlagKey, unknown>> = {};
  for (const key of flagKeys) {
    const origin = taken.has(key) ? originOf(key, { argv, variable, file, fileTexts }) : fromDefault;
    origins.set(key, origin);
    settings[key] = origin === fromDefault ? flagOf(key).default : parsed(key, origin);
  }
  return {
    command,
    // The table's parsers give each key the type that Settings derives from them.
    settings: settings as Settings,
    origins: Object.fromEntries(origins) as Record<FlagKey, Origin>,
  };
}

const fromDefault: Origin = { source: 'default', place: '', texts: [] };

function originOf(
  key: FlagKey,
  from: {
    readonly argv: FlagTexts;
    readonly variable: Sources['variable'];
    readonly file: string | null;
    readonly fileTexts: FlagTexts;
  },
): Origin {
  const { argv, variable, file, fileTexts } = from;
  const given = argv[key];
  if (given) return { source: 'argv', place: `--${flagName(key)}`, texts: given };
  for (const { key: name, map = (value: string) => value } of flagOf(key).variables) {
    const value = variable(name);
    if (value === null) continue;
    return { source: 'environment', place: variables[name].name, texts: [map(value)] };
  }
  const texts = fileTexts[key];
  return texts && file !== null ? { source: 'config file', place: file, texts } : fromDefault;
}

function parsed(key: FlagKey, { source, place, texts }: Origin): unknown {
  const flag = flagOf(key);
  try {
    return flag.parse(texts);
  } catch (error) {
    if (!(error instanceof FlagValueError)) throw error;
    const shown = flag.isSecret ? 'not usable' : `"${texts.join(' ')}"`;
    const where = source === 'config file' ? `${place}: ${flagName(key)}` : place;
    const code = source === 'argv' ? 'ERR_OPTION' : source === 'environment' ? 'ERR_VARIABLE' : 'ERR_CONFIG_FILE';
    throw new ConfigError(code, `${where} is ${shown}; ${error.message}`, { cause: error });
  }
}
