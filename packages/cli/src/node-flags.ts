import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { NodeOptions } from '@skein/agent';
import { type LogLevel, logLevels } from '@skein/telemetry';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { variable } from './environment.ts';
import { logFormat, logLevel } from './log-settings.ts';

export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

const GIB = 2 ** 30;

/** Flags of every command that runs a leader or a worker: vLLM's names where vLLM has one. */
export function addNodeFlags(command: Command): Command {
  return command
    .option('--served-model-name <name>', "name the API answers to (default: the model folder's)")
    .addOption(
      new Option('--dtype <type>', 'type of the KV cache; weights keep theirs')
        .choices(['auto', 'float32', 'float16', 'bfloat16'])
        .default('auto'),
    )
    .option('--max-model-len <tokens>', "longest prompt plus answer (default: the model's)", integer(1))
    .option('--max-num-seqs <n>', 'most requests computed at once', integer(1), 128)
    .option('--max-num-batched-tokens <n>', 'most tokens in one step', integer(1), 2048)
    .option('--block-size <tokens>', 'tokens in a KV block', integer(1), 16)
    .option('--kv-cache-memory-bytes <bytes>', 'KV cache of each rank', integer(1), GIB)
    .option('--num-gpu-blocks-override <n>', 'KV blocks of each rank, whatever the bytes', integer(1))
    .option('--threads <n>', 'compute threads of each rank (default: cores)', integer(1))
    .option('--pp-layer-partition <counts>', 'layers of each stage, e.g. 3,5 (default: even)', layerCounts)
    .option('--api-key <key>', 'key that requests under /v1 must bring; commas separate several (or SKEIN_API_KEY)')
    .option('--api-key-guards-metrics', 'ask for the key at /metrics too', false)
    .option('--step-deadline <seconds>', 'a rank that waits longer for another gives up the step', integer(1), 30)
    .option('--drain-timeout <seconds>', 'how long SIGTERM lets running streams go on', integer(0), 30)
    .addOption(logLevelOption());
}

/** Without a default: SKEIN_LOG_LEVEL and then info stand in for it. */
export function logLevelOption(): Option {
  return new Option('--log-level <level>', 'how much to log (default: SKEIN_LOG_LEVEL, or info)').choices(logLevels);
}

export interface NodeFlags {
  readonly servedModelName?: string;
  readonly dtype: NodeOptions['dtype'];
  readonly maxModelLen?: number;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly blockSize: number;
  readonly kvCacheMemoryBytes: number;
  readonly numGpuBlocksOverride?: number;
  readonly threads?: number;
  readonly ppLayerPartition?: readonly number[];
  readonly apiKey?: string;
  readonly apiKeyGuardsMetrics: boolean;
  readonly stepDeadline: number;
  readonly drainTimeout: number;
  readonly logLevel?: LogLevel;
}

export interface ListenFlags {
  readonly host: string;
  readonly port: number;
  readonly advertiseUrl?: string;
  readonly natsPort?: number;
}

export function nodeOptions(model: string, flags: NodeFlags & ListenFlags): NodeOptions {
  return {
    model,
    servedModelName: flags.servedModelName ?? '',
    dtype: flags.dtype,
    host: flags.host,
    port: flags.port,
    advertiseUrl: flags.advertiseUrl ?? null,
    apiKey: flags.apiKey ?? variable('apiKey'),
    apiKeyGuardsMetrics: flags.apiKeyGuardsMetrics,
    groupKey: variable('groupKey'),
    natsUrl: variable('natsUrl'),
    natsPort: flags.natsPort ?? 4222,
    threads: flags.threads ?? availableParallelism(),
    maxModelLen: flags.maxModelLen ?? null,
    maxNumSeqs: flags.maxNumSeqs,
    maxNumBatchedTokens: flags.maxNumBatchedTokens,
    blockSize: flags.blockSize,
    kvCacheBytes: flags.kvCacheMemoryBytes,
    numBlocks: flags.numGpuBlocksOverride ?? null,
    layerPartition: flags.ppLayerPartition ?? null,
    stepDeadlineMs: flags.stepDeadline * 1000,
    drainMs: flags.drainTimeout * 1000,
    revision: VERSION,
    logLevel: logLevel(flags),
    logFormat: logFormat(),
  };
}

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(
        `It must be an integer from ${min}${max < Number.MAX_SAFE_INTEGER ? ` to ${max}` : ''}.`,
      );
    return value;
  };
}

function layerCounts(text: string): number[] {
  const counts = text.split(',').map(Number);
  if (counts.some((n) => !Number.isInteger(n) || n < 1))
    throw new InvalidArgumentError('It must be layer counts like 3,5.');
  return counts;
}
