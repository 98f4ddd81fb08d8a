export const GROUPS = ['lint', 'cpp', 'arm64', 'unit', 'integration', 'e2e'] as const;
export type Group = (typeof GROUPS)[number];

export interface Options {
  readonly groups: readonly Group[];
  /** Handed to vitest as they came: -t and its pattern, file filters. */
  readonly vitestArguments: readonly string[];
}

/** Everything but `--only GROUP` is vitest's. Arguments for vitest alone choose the vitest groups. */
export function parseOptions(argv: readonly string[]): Options {
  const only: Group[] = [];
  const vitestArguments: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? '';
    if (argument !== '--only' && !argument.startsWith('--only=')) {
      vitestArguments.push(argument);
      continue;
    }
    const name = argument === '--only' ? argv[++index] : argument.slice('--only='.length);
    const group = GROUPS.find((candidate) => candidate === name);
    if (group === undefined) {
      console.error(`--only takes one of ${GROUPS.join(', ')}, got ${name ?? 'nothing'}`);
      process.exit(2);
    }
    only.push(group);
  }
  if (only.length > 0) return { groups: only, vitestArguments };
  return { groups: vitestArguments.length > 0 ? ['unit', 'integration', 'e2e'] : GROUPS, vitestArguments };
}
