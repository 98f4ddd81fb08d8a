import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const root: string = path.resolve(import.meta.dirname, '../..');

export interface SourceFile {
  /** Relative to the repository's root, with slashes. */
  readonly path: string;
  readonly text: string;
}

const unreadFolders = /^(node_modules|dist|build.*|__pycache__|\.(?!ci$).*)$/;
const textFile = /(\.(ts|js|mjs|cc|cu|h|py|md|json|jsonc|ya?ml|txt|sh|toml|tpl|cmake)|\/[^./]+|\/\.[a-z]+ignore)$/;
const dataFile = /^(LICENSE|test\/fixtures\/.*\.json|examples\/[^/]+\/.*\.json)$/;

/** Every text file that people write: no dependencies, build results, model files or fixtures' data. */
export const files: readonly SourceFile[] = walk('')
  .filter((file) => textFile.test(`/${file}`) && !dataFile.test(file))
  .map((file) => ({ path: file, text: readFileSync(path.join(root, file), 'utf8') }));

export const typescript: readonly SourceFile[] = files.filter((file) => file.path.endsWith('.ts'));
export const cplusplus: readonly SourceFile[] = files.filter((file) => /\.(cc|cu|h)$/.test(file.path));

export function textOf(name: string): string {
  return files.find((file) => file.path === name)?.text ?? '';
}

/** 'path:line: text' of each line that `pattern` finds. */
export function linesMatching(file: SourceFile, pattern: RegExp): string[] {
  return file.text.split('\n').flatMap((line, index) => {
    return pattern.test(line) ? [`${file.path}:${index + 1}: ${line.trim()}`] : [];
  });
}

/** The text without comments; line breaks stay. Good enough for code that a formatter has laid out. */
export function withoutComments(text: string): string {
  return text
    .replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, ''))
    .replaceAll(/(^|[\s;{}(),])\/\/.*$/gm, '$1');
}

function walk(folder: string): string[] {
  return readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return unreadFolders.test(entry.name) ? [] : walk(name);
    return entry.isFile() ? [name] : [];
  });
}
