import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

const DIRECTORIES = ['/usr/sbin', '/usr/bin', '/usr/local/bin', '/bin'];

/** The file of a program in the directories of `path` and the usual ones; null when there is none. */
export async function findProgram(name: string, path = ''): Promise<string | null> {
  for (const directory of [...path.split(delimiter), ...DIRECTORIES]) {
    if (directory === '') continue;
    const file = join(directory, name);
    try {
      await access(file, constants.X_OK);
      return file;
    } catch {
      continue;
    }
  }
  return null;
}
