import { describe, expect, it } from 'vitest';
import { cplusplus, files, linesMatching, type SourceFile, typescript } from './repository.ts';

const linesMax = 450;
const drawers = /(^|\/)(utils?|common|helpers?|misc|types)(?=[/.]|$)/;
// This folder spells out what it forbids.
const written = files.filter((file) => !file.path.startsWith('test/tidy/'));
const find = (among: readonly SourceFile[], pattern: RegExp): string[] =>
  among.flatMap((file) => linesMatching(file, pattern));

describe('what is written', () => {
  it('has no leftover markers', () => {
    expect(find(written, /\b(TODO|FIXME|XXX|HACK)\b/)).toEqual([]);
  });

  it('does not praise itself', () => {
    expect(find(written, /\b(robust(ly|ness)?|seamless(ly)?|blazing(ly)?)\b/i)).toEqual([]);
  });

  it('names no path of the machine it was written on', () => {
    expect(find(written, /(^|[\s"'`(=:,])\/(work|root)\//)).toEqual([]);
  });

  it('names no package registry or mirror', () => {
    const registries = /https?:\/\/([\w-]+\.)*(registry|artifactory|nexus|mirrors?|proxy)[\w-]*\.|registry\s*=\s*http/i;
    expect(find(written, registries)).toEqual([]);
    const lockfiles = written.filter((file) => /(package-lock\.json|pnpm-lock\.yaml)$/.test(file.path));
    expect(lockfiles).toHaveLength(3);
    expect(find(lockfiles, /"resolved":|\btarball:/)).toEqual([]);
  });
});

describe('a source file', () => {
  const sources = written.filter((file) => /\.(ts|cc|cu|h|py|sh)$|^scripts\/[^/]+$/.test(file.path));

  it(`has fewer than ${linesMax} lines`, () => {
    const long = sources.map((file) => ({ path: file.path, lines: file.text.split('\n').length - 1 }));
    expect(long.filter((file) => file.lines >= linesMax)).toEqual([]);
  });

  it('has a kebab-case name (C++ and Python may use underscores)', () => {
    const kebab = /^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*\.ts$/;
    expect(typescript.map((file) => file.path).filter((name) => !kebab.test(name))).toEqual([]);
    const lower = /^[a-z0-9]+([-_][a-z0-9]+)*(\.[a-z0-9]+)*$/;
    expect(
      cplusplus.map((file) => file.path).filter((name) => !name.split('/').every((part) => lower.test(part))),
    ).toEqual([]);
  });

  it('is named after a noun, never a drawer', () => {
    expect(sources.map((file) => file.path).filter((name) => drawers.test(name))).toEqual([]);
  });
});
