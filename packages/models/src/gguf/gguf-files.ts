import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '../errors.ts';

const SUFFIX = '.gguf';
const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;
const PARTS_MAX = 1000;

/** The GGUF files of the model at `path`, the one with its description first: the file itself, or the one in a folder that has
 *  no config.json; of a split model all parts. Null where `path` is another kind of model. Throws CheckpointError when a
 *  folder has several, or a part is missing. */
export function ggufFiles(path: string): string[] | null {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory() !== true) return path.endsWith(SUFFIX) ? partsOf(path) : null;
  if (existsSync(join(path, 'config.json'))) return null;
  const names = readdirSync(path)
    .filter((name) => name.endsWith(SUFFIX) && Number(PART.exec(name)?.[2] ?? 1) === 1)
    .sort();
  const [first, second] = names;
  if (first === undefined) return null;
  if (second === undefined) return partsOf(join(path, first));
  throw new CheckpointError(`${path}: holds ${names.length} GGUF files, ${first} and ${second} among them; name one`, {
    details: { path, names: names.slice(0, 20) },
  });
}

function partsOf(file: string): string[] {
  const [, stem = '', number, count] = PART.exec(basename(file)) ?? [];
  if (count === undefined) return [file];
  const numParts = Number(count);
  if (numParts < 1 || numParts > PARTS_MAX || Number(number) !== 1) {
    throw new CheckpointError(`${file}: is part ${number} of ${count}; name the first of at most ${PARTS_MAX}`, {
      details: { file },
    });
  }
  const parts = Array.from({ length: numParts }, (_, i) =>
    join(dirname(file), `${stem}-${String(i + 1).padStart(5, '0')}-of-${count}${SUFFIX}`),
  );
  const lost = parts.find((part) => !existsSync(part));
  if (lost === undefined) return parts;
  throw new CheckpointError(`${lost}: is missing, and ${basename(file)} needs it; download the model again`, {
    details: { file: lost },
  });
}
