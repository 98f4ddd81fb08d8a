import type { Command } from 'commander';
import { parseCheckpointShape, type RandomCheckpoint, writeRandomCheckpoint } from '@skein/models';
import { SkeinError } from '@skein/protocol';
import type { Resolved } from './flags/resolve.ts';
import { runCommand } from './lifecycle.ts';

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

export function addMakeCheckpoint(program: Command, read: () => Resolved): void {
  program
    .command('make-checkpoint')
    .description('write a random-weight checkpoint of a known shape, for benchmarks')
    .argument('<shape>', 'llama-3.2-1b, llama-3.2-3b, llama-3.1-8b, … or layers=…,hidden=…')
    .argument('<dir>', 'folder to write; it must not exist or be empty')
    .option('--seed <n>', 'seed of the weights', Number, 0)
    .option('--dtype <type>', 'bfloat16, float16 or float32', 'bfloat16')
    .option('--shard-bytes <n>', 'largest safetensors file', Number, 1 << 30)
    .action(async (shape: string, dir: string, flags: { seed: number; dtype: string; shardBytes: number }) => {
      await runCommand(read, async ({ logger, signal }) => {
        await makeCheckpoint({ shape, dir, ...flags, signal });
        logger.info(`wrote ${shape} to ${dir}`);
      });
    });
}
