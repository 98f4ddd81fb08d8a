import type { SourceFile } from './repository.ts';
import { withoutComments } from './repository.ts';

const statement = /^\s*(?:import|export)\b(?:[^'";]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;
const dynamic = /\bimport\(\s*['"]([^'"]+)['"]/g;

/** The specifiers that a module imports, re-exports, or imports at run time by a literal name. */
export function importsOf(file: SourceFile): string[] {
  const code = withoutComments(file.text);
  return [...code.matchAll(statement), ...code.matchAll(dynamic)].map((match) => match[1] ?? '');
}
