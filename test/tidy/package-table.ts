import { textOf } from './repository.ts';

const level0 = ['protocol', 'telemetry'];

/** Package name (folder name, or 'native') -> the packages it may import, read from ARCHITECTURE.md. */
export function readPackageTable(): ReadonlyMap<string, ReadonlySet<string>> {
  const block = /<!-- packages -->([\s\S]*?)<!-- \/packages -->/.exec(textOf('ARCHITECTURE.md'))?.[1];
  if (block === undefined)
    throw new Error('ARCHITECTURE.md has no table between <!-- packages --> and <!-- /packages -->');
  const rows = [...block.matchAll(/^(?:packages\/)?([a-z0-9-]+) .*-> (.+)$/gm)].map((match) => ({
    name: match[1] ?? '',
    targets: (match[2] ?? '').trim().split(/,\s*/),
  }));
  const all = rows.map((row) => row.name);
  const expand = (name: string, target: string): readonly string[] => {
    if (target === 'nothing') return [];
    if (target === 'L0') return level0;
    if (target === 'all') return all.filter((other) => other !== name);
    return [target];
  };
  return new Map(rows.map(({ name, targets }) => [name, new Set(targets.flatMap((target) => expand(name, target)))]));
}

/** The package whose folder holds the file, or null for tests, scripts and examples. */
export function packageOf(file: string): string | null {
  return (
    /^(?:packages\/([^/]+)|(native))\//
      .exec(file)
      ?.slice(1)
      .find((name) => name !== undefined) ?? null
  );
}
