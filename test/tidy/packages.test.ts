import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { importsOf } from './imports.ts';
import { packageOf, readPackageTable } from './package-table.ts';
import { cplusplus, files, linesMatching, textOf, typescript, withoutComments } from './repository.ts';

const table = readPackageTable();
const manifests = files.filter((file) => /^(packages\/[^/]+|native)\/package\.json$/.test(file.path));

describe('the package table in ARCHITECTURE.md', () => {
  it('lists every package, and only those', () => {
    expect(new Set(table.keys())).toEqual(new Set(manifests.map((file) => packageOf(file.path))));
  });

  it('names only packages it lists, and has no cycle', () => {
    const settled = new Set<string>();
    const visit = (name: string, above: readonly string[]): void => {
      expect(above, `a cycle through ${name}`).not.toContain(name);
      const targets = table.get(name);
      expect(targets, `${name} has no row`).toBeDefined();
      if (settled.has(name)) return;
      for (const target of targets ?? []) visit(target, [...above, name]);
      settled.add(name);
    };
    for (const name of table.keys()) visit(name, []);
  });

  it('allows every import', () => {
    const forbidden = typescript.flatMap((file) => {
      const from = packageOf(file.path);
      return importsOf(file).flatMap((specifier) => {
        const target = /^@skein\/([^/]+)/.exec(specifier)?.[1];
        if (from === null || target === undefined || table.get(from)?.has(target) === true) return [];
        return [`${file.path} imports ${specifier}`];
      });
    });
    expect(forbidden).toEqual([]);
  });

  it('allows every workspace dependency', () => {
    const forbidden = manifests.flatMap((file) => {
      const from = packageOf(file.path) ?? '';
      const names = [...file.text.matchAll(/"@skein\/([^"]+)": "workspace:/g)].map((match) => match[1] ?? '');
      return names
        .filter((name) => table.get(from)?.has(name) !== true)
        .map((name) => `${file.path} depends on ${name}`);
    });
    expect(forbidden).toEqual([]);
  });
});

describe('a package', () => {
  it("is entered by its exports, never through another's files", () => {
    const intrusions = typescript.flatMap((file) => {
      const home = packageOf(file.path);
      return importsOf(file).flatMap((specifier) => {
        if (/^@skein\/[^/]+\/(src|lib)\//.test(specifier)) return [`${file.path} imports ${specifier}`];
        if (!specifier.startsWith('.')) return [];
        const target = packageOf(path.posix.join(path.posix.dirname(file.path), specifier));
        return target === home || target === null ? [] : [`${file.path} imports ${specifier}`];
      });
    });
    expect(intrusions).toEqual([]);
  });

  it('re-exports by name', () => {
    expect(typescript.flatMap((file) => linesMatching(file, /^\s*export \*/))).toEqual([]);
  });

  it('leaves the command line and the environment to the cli', () => {
    const reads = /\bprocess\.(env|argv)\b|\{[^}]*\b(env|argv)\b[^}]*\} from '(node:)?process'/;
    const readers = typescript.filter((file) => {
      const owner = packageOf(file.path);
      return owner !== null && owner !== 'cli' && !isTest(file.path) && reads.test(withoutComments(file.text));
    });
    expect(readers.map((file) => file.path)).toEqual([]);
  });

  it("takes metric names from telemetry's table", () => {
    const writers = typescript.filter((file) => {
      const owner = packageOf(file.path);
      const named = /['"`](vllm:|skein_)[a-z]/.test(withoutComments(file.text));
      return named && owner !== null && owner !== 'telemetry' && !isTest(file.path);
    });
    expect(writers.map((file) => file.path)).toEqual([]);
  });
});

describe('native', () => {
  it('includes N-API in the binding alone', () => {
    const includes = cplusplus.filter((file) => /#include\s*[<"](napi|node_api)/.test(file.text));
    expect(includes.map((file) => file.path).filter((name) => !name.startsWith('native/src/binding/'))).toEqual([]);
  });
});

describe('the root manifest', () => {
  it('starts, tests and measures through scripts', () => {
    const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };
    expect(scripts).toMatchObject({
      start: 'exec scripts/start',
      test: 'exec scripts/test',
      bench: 'exec scripts/bench',
    });
  });
});

function isTest(file: string): boolean {
  return /\.(test|cases)\.ts$|\/testing\//.test(file);
}
