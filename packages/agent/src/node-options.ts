import type { KVEventsConfig } from './leader/kv-events-config.ts';
import type { KVCacheDtypeOption, QuantizationOption } from '@skein/models';
import type { LogFormat, LogLevel } from '@skein/telemetry';
import type { GroupShape } from './group-shape.ts';

/** Everything `skein node` and `skein serve` decide from flags and variables, resolved. */
export interface NodeOptions {
  /** Folder of the checkpoint. */
  readonly model: string;
  /** Folder of the tokenizer. */
  readonly tokenizer: string;
  /** At least one; the first is shown in answers and metrics. */
  readonly servedModelNames: readonly string[];
  /** Of the KV cache: weights keep their stored type. */
  readonly kvCacheDtype: KVCacheDtypeOption;
  /** What the weights are quantized to, or how they are stored. */
  readonly quantization: QuantizationOption;
  /** Folder where ranks keep their packed weights; null for none. */
  readonly weightCache: string | null;
  /** A file, or the template itself; null takes the model's. */
  readonly chatTemplate: string | null;
  /** `auto`: the model's own; `vllm`: none; else a folder with a generation_config.json. */
  readonly generationConfig: string;
  /** Makes the seeds that the leader draws repeatable; null draws at random. */
  readonly seed: number | null;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** URL that a router should use to reach this leader; null derives it from host and port. */
  readonly advertiseUrl: string | null;
  /** Without any everybody may ask. */
  readonly apiKeys: readonly string[];
  readonly apiKeyGuardsMetrics: boolean;
  readonly groupKey: string | null;
  /** Null: the leader starts a broker of its own on `natsPort`. */
  readonly natsUrl: string | null;
  readonly natsPort: number;
  readonly shape: GroupShape;
  /** Asked for; a model without experts is refused then. */
  readonly expertParallel: boolean;
  /** Copies of experts in each layer beyond one of each. */
  readonly numRedundantExperts: number;
  /** A file of how much each expert has to do; null knows nothing. */
  readonly expertLoad: string | null;
  /** Interfaces or networks that ranks may use, the best first; null leaves it to the route to the leader. */
  readonly interfaces: readonly string[] | null;
  /** Compute threads of each rank. */
  readonly threads: number;
  readonly maxModelLen: number | null;
  /** Most logprobs of a token that a request may ask for. */
  readonly maxLogprobs: number;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly enablePrefixCaching: boolean;
  readonly schedulingPolicy: 'fcfs' | 'priority';
  /** Tokens that a streamed event waits for where the request does not say. */
  readonly streamInterval: number;
  /** Whether streams end with the usage whatever they ask for. */
  readonly forceIncludeUsage: boolean;
  /** KV events over ZMQ; null: on the bus alone. */
  readonly kvEvents: KVEventsConfig | null;
  readonly blockSize: number;
  /** KV cache of each rank; null takes `memoryShare` of the memory that the weights leave. */
  readonly kvCacheBytes: number | null;
  /** Above 0, up to 1. */
  readonly memoryShare: number;
  readonly numBlocks: number | null;
  /** Layers of each stage, in halves; null balances what stages read. */
  readonly layerPartition: readonly number[] | null;
  /** Whether stages are timed once they are loaded, and cut anew by that. */
  readonly measureStages: boolean;
  /** A step fails, and the group re-forms, when a rank waits longer than this for another. */
  readonly stepDeadlineMs: number;
  /** How long SIGTERM lets running streams go on. */
  readonly drainMs: number;
  readonly revision: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** A line at info for each request; else at debug. */
  readonly logRequests: boolean;
  /** Most characters of each prompt to log; null logs none. */
  readonly logPromptChars: number | null;
  /** Where an OTLP collector takes traces over HTTP; null makes none. */
  readonly tracesEndpoint: string | null;
}
