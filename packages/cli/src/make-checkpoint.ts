import { parseCheckpointShape, type RandomCheckpoint, writeRandomCheckpoint } from '@skein/models';
import { SkeinError } from '@skein/protocol';

const DTYPES = { bfloat16: 'bf16', float16: 'f16', float32: 'f32' } as const;

export interface MakeCheckpointOptions {
  /** A known shape's name, or `layers=…,hidden=…`. */
  readonly shape: string;
  /** Absent or empty; it appears whole or not at all. */
  readonly dir: string;
  readonly seed: number;
  /** bfloat16, float16 or float32. */
  readonly dtype: string;
  readonly shardBytes: number;
  readonly signal?: AbortSignal;
}

/** `skein make-checkpoint`: a random-weight checkpoint with a tokenizer, for trials and load tests without a download. */
export async function makeCheckpoint(options: MakeCheckpointOptions): Promise<RandomCheckpoint> {
  const { shape, dir, seed, shardBytes } = options;
  const dtype = Object.entries(DTYPES).find(([name]) => name === options.dtype)?.[1];
  if (dtype === undefined)
    throw new SkeinError('ERR_OPTION', `--dtype is ${options.dtype}; choose ${Object.keys(DTYPES).join(', ')}`);
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff)
    throw new SkeinError('ERR_OPTION', `--seed is ${seed}; choose a whole number from 0 to 4294967295`);
  if (!(shardBytes > 0)) throw new SkeinError('ERR_OPTION', `--shard-bytes is ${shardBytes}; choose a number above 0`);
  return writeRandomCheckpoint({
    shape: parseCheckpointShape(shape),
    dir,
    seed,
    dtype,
    shardBytes,
    signal: options.signal ?? null,
  });
}
