import { variables } from '@skein/telemetry';
import { clusterParts } from './cluster-parts.ts';
import { variable } from './environment.ts';
import { flagOf, flagsOf } from './flags/argv.ts';
import { flagName } from './flags/flag-table.ts';
import type { Resolved } from './flags/resolve.ts';

/** What `skein config` shows. */
export interface ShownConfig {
  readonly command: string;
  /** Of `skein up`: the processes it would start. */
  readonly processes: readonly {
    readonly name: string;
    readonly args: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  }[];
  readonly settings: readonly {
    readonly flag: string;
    /** null: nothing was chosen, and what stands in is the default's description. */
    readonly value: unknown;
    readonly source: string;
    readonly place: string;
  }[];
  /** Variables without a flag that are set. */
  readonly variables: readonly { readonly name: string; readonly value: string }[];
}

const HIDDEN = '(hidden)';
const secretVariables: ReadonlySet<string> = new Set([
  variables.apiKey.name,
  variables.groupKey.name,
  variables.natsUrl.name,
]);
const withoutFlag = ['lwsLeaderAddress', 'lwsGroupSize', 'lwsWorkerIndex', 'lwsGroupIndex', 'groupKey'] as const;

/** What a command would run with, and where each value came from; no secrets. */
export function shownConfig(resolved: Resolved): ShownConfig {
  const { command, settings, origins } = resolved;
  return {
    command,
    processes: command === 'up' ? clusterParts(resolved).map((part) => ({ ...part, env: hidden(part.env) })) : [],
    settings: flagsOf(command).map((key) => ({
      flag: flagName(key),
      value: flagOf(key).isSecret && settings[key] !== null ? HIDDEN : settings[key],
      source: origins[key].source,
      place: origins[key].place,
    })),
    variables: withoutFlag.flatMap((key) => {
      const { name } = variables[key];
      const value = variable(key);
      return value === null ? [] : [{ name, value: hidden({ [name]: value })[name] ?? '' }];
    }),
  };
}

/** For people. */
export function configText({ command, processes, settings, variables: set }: ShownConfig): string {
  const rows = settings.map(({ flag, value, source, place }): readonly [string, string, string] => [
    flag,
    shownValue(value),
    place === '' ? source : `${source}: ${place}`,
  ]);
  const width = (column: 0 | 1): number => Math.max(...rows.map((row) => row[column].length));
  const [names, values] = [width(0), Math.min(50, width(1))];
  return [
    `skein ${command}`,
    ...rows.map(([flag, value, from]) => `  ${flag.padEnd(names)}  ${value.padEnd(values)}  ${from}`),
    ...set.map(({ name, value }) => `  ${name}=${value}`),
    ...processes.map(({ name, args, env }) => {
      const assigned = Object.entries(env).map(([key, value]) => `${key}=${value} `);
      return `${name}: ${assigned.join('')}skein ${args.join(' ')}`;
    }),
    '',
  ].join('\n');
}

function shownValue(value: unknown): string {
  if (value === null) return '-';
  return typeof value === 'object' ? JSON.stringify(value) : `${value as string | number | boolean}`;
}

function hidden(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, secretVariables.has(name) ? HIDDEN : value]),
  );
}
