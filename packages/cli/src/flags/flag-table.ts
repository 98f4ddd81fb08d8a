import { engineFlags } from './engine-flags.ts';
import type { Flag } from './flag.ts';
import { modelFlags } from './model-flags.ts';
import { planFlags } from './plan-flags.ts';
import { serverFlags } from './server-flags.ts';

/** Every flag of the processes, in the order of --help. Names are vLLM's where vLLM has one. The command line, the config file,
 *  `skein config`, docs/flags.md and what `skein up` passes on all come from here. */
export const flags = {
  ...modelFlags,
  ...engineFlags,
  ...serverFlags,
  ...planFlags,
} as const;

export type FlagKey = keyof typeof flags;

/** What every flag came to; flags that the command does not take have their default. */
export type Settings = {
  readonly [K in FlagKey]: (typeof flags)[K] extends Flag<infer T> ? T : never;
};

export const flagKeys = Object.keys(flags) as readonly FlagKey[];

/** maxModelLen is max-model-len. */
export function flagName(key: FlagKey): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
