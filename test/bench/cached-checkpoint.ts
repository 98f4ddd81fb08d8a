import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, parseCheckpointShape, readCheckpointTensors, writeRandomCheckpoint } from '@skein/models';

const SHARD_BYTES = 2 ** 30;

/** The folder of a bf16 checkpoint with random weights of a known shape; written on first use, then kept. */
export async function cachedCheckpoint(shape: string, progress: (line: string) => void): Promise<string> {
  const dir = join(tmpdir(), 'skein-bench', shape);
  if (await isComplete(dir)) return dir;
  progress(`writing ${dir}`);
  await rm(dir, { recursive: true, force: true });
  const options = { shape: parseCheckpointShape(shape), seed: 0, dtype: 'bf16', shardBytes: SHARD_BYTES } as const;
  await writeRandomCheckpoint({ ...options, dir, signal: null });
  return dir;
}

/** A checkpoint appears whole, but whoever tidies a folder for temporary files may have taken a part of it. */
async function isComplete(dir: string): Promise<boolean> {
  try {
    return (await readCheckpointTensors(dir)).size > 0;
  } catch (error) {
    if (error instanceof CheckpointError) return false;
    throw error;
  }
}
