import { open, rename, rm } from 'node:fs/promises';
import { CheckpointWriteError } from './errors.ts';

/** Writes a file piece by piece, under a temporary name that becomes `file` when all of it is on disk. Throws
 *  CheckpointWriteError, leaving no file, when it cannot be written or `produce` throws. */
export async function writeWholeFile(
  file: string,
  produce: (write: (data: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const partial = `${file}.partial`;
  try {
    await using handle = await open(partial, 'w');
    await produce(async (data) => {
      for (let at = 0; at < data.length;) at += (await handle.write(data, at, data.length - at)).bytesWritten;
    });
    await handle.sync();
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    if (error instanceof CheckpointWriteError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new CheckpointWriteError(`${file}: cannot be written (${why}); free space or choose another directory`, {
      cause: error,
      details: { file },
    });
  }
}
