import { actorClass, method } from '@skein/actor';
import { KV_CACHE_DTYPE_OPTIONS, QUANTIZATION_OPTIONS } from '@skein/models';
import { bytesSchema, type Identity, layerRangeSchema, subjects } from '@skein/protocol';
import { z } from 'zod';

const channel = z.object({
  name: z.string().max(200),
  peer: z.string().max(100),
  transport: z.enum(['shm', 'tcp']),
  /** What it may hold ahead of its reader; a larger message streams through. */
  capacityBytes: z.int().min(1),
});
export type ChannelSpec = z.infer<typeof channel>;

export const loadSchema = z.object({
  model: z.string().max(4096),
  stages: z.int().min(1).max(4096),
  stage: z.int().min(0),
  tensor: z.object({ rank: z.int().min(0), size: z.int().min(1).max(4096) }),
  expertReplica: z.object({ index: z.int().min(0), count: z.int().min(1).max(4096) }),
  layers: layerRangeSchema,
  /** Where the experts of layers are, by expert its ranks; in runs where a layer is left out. */
  expertPlacements: z.array(
    z.object({ layer: z.int().min(0), owners: z.array(z.array(z.int().min(0)).min(1).max(4096)).max(2 ** 16) }),
  ),
  kvCacheDtype: z.enum(KV_CACHE_DTYPE_OPTIONS),
  quantization: z.enum(QUANTIZATION_OPTIONS),
  weightCache: z.string().max(4096).nullable(),
  limits: z.object({
    maxTokens: z.int().min(1),
    maxSeqs: z.int().min(1),
    maxRows: z.int().min(1),
    maxModelLen: z.int().min(1),
    maxLogprobs: z.int().min(0),
    numSlots: z.int().min(1),
  }),
  /** Most KV blocks there can be; how many are used is decided when memory was measured. */
  numBlocks: z.int().min(1),
  blockSize: z.int().min(1),
});
export type LoadSpec = z.infer<typeof loadSchema>;

export const loadReportSchema = z.object({
  fingerprint: z.string(),
  weightBytes: z.number(),
  /** Address space for `numBlocks`; pages are taken as blocks come into use. */
  kvCacheBytes: z.number(),
  bufferBytes: z.number(),
  /** Memory that was left on this host when the weights were loaded, file pages counted as free. */
  availableBytes: z.number(),
});
export type LoadReport = z.infer<typeof loadReportSchema>;

export const rankStatusSchema = z.object({
  state: z.enum(['join', 'load', 'connect', 'warm', 'ready', 'failed']),
  stateSeconds: z.number(),
  detail: z.string(),
  pairs: z.array(
    z.object({ peer: z.string(), transport: z.enum(['shm', 'tcp']), bytes: z.number(), messages: z.number() }),
  ),
  steps: z.number(),
  computeUs: z.number(),
  waitUs: z.number(),
  /** By layer of a mixture: this rank's experts, ascending, and how many tokens each has computed since it was loaded. */
  experts: z.array(
    z.object({ layer: z.int().min(0), ids: z.array(z.int().min(0)), tokens: z.array(z.number().min(0)) }),
  ),
  /** The latest that a leader has begun here; 0 before any. */
  epoch: z.int(),
});
export type RankStatus = z.infer<typeof rankStatusSchema>;

/** Which of the `total` compute threads on a host, of ranks that wait for each other, are a rank's: `first` and those after it. */
const threadShareSchema = z.object({ first: z.int().min(0), total: z.int().min(1) });
export type ThreadShare = z.infer<typeof threadShareSchema>;

const epoch = z.int().min(0);
const CHANNELS_MAX = 4096;

/** What the leader calls on a rank, in this order: abort, which ends what ran and begins a newer epoch; load, openReceive on
 *  all, openSend on all, begin; then step plans arrive by subject. */
export const RankActor = actorClass('Rank', {
  load: method(z.object({ epoch, spec: loadSchema }), loadReportSchema),
  openReceive: method(
    z.object({ epoch, channels: z.array(channel).max(CHANNELS_MAX) }),
    z.array(z.object({ name: z.string(), descriptor: bytesSchema })),
  ),
  openSend: method(
    z.object({ epoch, channels: z.array(channel.extend({ descriptor: bytesSchema })).max(CHANNELS_MAX) }),
    z.null(),
  ),
  begin: method(
    z.object({
      epoch,
      replica: z.int().min(0),
      threads: threadShareSchema.nullable(),
      direct: z.object({ host: z.string().max(255), port: z.int().min(1).max(65535) }),
    }),
    z.null(),
  ),
  abort: method(z.object({ epoch, reason: z.string().max(1000) }), z.null()),
  status: method(z.object({}), rankStatusSchema),
});

/** Where one rank process takes its calls. Another process that claims the same number has another address. */
export function rankSubject(group: string, rankIndex: number, rank: Identity): string {
  return `${subjects.rankActor(group, rankIndex)}.${rank.incarnation}`;
}
