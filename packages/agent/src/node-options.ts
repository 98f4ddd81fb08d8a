import type { LogLevel } from '@skein/telemetry';

/** Everything `skein node` and `skein serve` decide from flags and variables, resolved. */
export interface NodeOptions {
  readonly model: string;
  readonly servedModelName: string;
  readonly dtype: 'auto' | 'float32' | 'float16' | 'bfloat16';
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** URL that a router should use to reach this leader; null derives it from host and port. */
  readonly advertiseUrl: string | null;
  readonly apiKey: string | null;
  readonly apiKeyGuardsMetrics: boolean;
  readonly groupKey: string | null;
  /** Null: the leader starts a broker of its own on `natsPort`. */
  readonly natsUrl: string | null;
  readonly natsPort: number;
  readonly threads: number;
  readonly maxModelLen: number | null;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly blockSize: number;
  readonly kvCacheBytes: number;
  readonly numBlocks: number | null;
  /** Layers per stage; null splits evenly. */
  readonly layerPartition: readonly number[] | null;
  /** A step fails, and the group re-forms, when a rank waits longer than this for another. */
  readonly stepDeadlineMs: number;
  /** How long SIGTERM lets running streams go on. */
  readonly drainMs: number;
  readonly revision: string;
  readonly logLevel: LogLevel;
  readonly logFormat: 'json' | 'text';
}
