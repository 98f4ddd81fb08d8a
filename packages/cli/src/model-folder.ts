import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { ConfigError } from '@skein/agent';
import { variable } from './environment.ts';

const GGUF = '.gguf';

export interface ModelFolder {
  /** Or the GGUF file. */
  readonly dir: string;
  /** What the API calls it unless told otherwise: the folder's or the file's name, or org/name. */
  readonly name: string;
}

/** The folder or GGUF file of `--model`: one that is there, or the folder of `org/name` in the local Hugging Face cache, at
 *  `revision`. Nothing is downloaded. @throws ConfigError ERR_OPTION. */
export function modelFolder(model: string, revision: string | null): ModelFolder {
  if (isFolder(model) || isGgufFile(model)) {
    if (revision !== null)
      throw new ConfigError(
        'ERR_OPTION',
        `--revision ${revision} has no meaning for the folder or file ${model}; leave it out`,
      );
    const dir = resolve(model);
    return { dir, name: basename(dir, GGUF) };
  }
  if (!/^[\w.-]+\/[\w.-]+$/.test(model))
    throw new ConfigError('ERR_OPTION', `--model ${model} is no folder and no ${GGUF} file`);
  const cache = variable('hfHubCache') ?? join(variable('hfHome') ?? join(homedir(), '.cache/huggingface'), 'hub');
  const place = join(cache, `models--${model.replace('/', '--')}`);
  const wanted = revision ?? 'main';
  const commit = refOf(join(place, 'refs'), wanted) ?? wanted;
  const dir = join(place, 'snapshots', commit);
  if (/[/\\]|^\.+$/.test(commit) || !isFolder(dir))
    throw new ConfigError(
      'ERR_OPTION',
      `--model ${model} is no folder, and ${cache} holds no revision ${wanted} of it; download it, or name a folder`,
    );
  return { dir, name: model };
}

function refOf(refs: string, name: string): string | null {
  if (name.split('/').includes('..')) return null;
  const file = join(refs, name);
  return existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8').trim() : null;
}

function isGgufFile(path: string): boolean {
  return path.endsWith(GGUF) && statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
