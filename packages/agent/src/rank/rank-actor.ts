import { actorClass, method } from '@skein/actor';
import { bytesSchema } from '@skein/protocol';
import { z } from 'zod';

const channel = z.object({ name: z.string().max(200), peer: z.string().max(100), transport: z.enum(['shm', 'tcp']) });
export type ChannelSpec = z.infer<typeof channel>;

export const loadSchema = z.object({
  model: z.string().max(4096),
  stages: z.int().min(1).max(4096),
  stage: z.int().min(0),
  layers: z.tuple([z.int().min(0), z.int().min(1)]),
  dtype: z.enum(['auto', 'float32', 'float16', 'bfloat16']),
  limits: z.object({
    maxTokens: z.int().min(1),
    maxSeqs: z.int().min(1),
    maxRows: z.int().min(1),
    maxModelLen: z.int().min(1),
    maxLogprobs: z.int().min(0),
    numSlots: z.int().min(1),
  }),
  numBlocks: z.int().min(1),
  blockSize: z.int().min(1),
});
export type LoadSpec = z.infer<typeof loadSchema>;

export const rankStatusSchema = z.object({
  state: z.enum(['join', 'load', 'connect', 'warm', 'ready', 'failed']),
  stateSeconds: z.number(),
  detail: z.string(),
  pairs: z.array(z.object({ peer: z.string(), transport: z.enum(['shm', 'tcp']), bytes: z.number(), messages: z.number() })),
  steps: z.number(),
  computeUs: z.number(),
  waitUs: z.number(),
});
export type RankStatus = z.infer<typeof rankStatusSchema>;

/** What the leader calls on a rank, in this order: load, openReceive on all, openSend on all, begin; then step plans
 *  arrive by subject. `abort` ends an epoch. */
export const RankActor = actorClass('Rank', {
  load: method(loadSchema, z.object({ fingerprint: z.string(), weightBytes: z.number(), kvCacheBytes: z.number(), bufferBytes: z.number() })),
  openReceive: method(
    z.object({ epoch: z.int(), channels: z.array(channel).max(8) }),
    z.array(z.object({ name: z.string(), descriptor: bytesSchema })),
  ),
  openSend: method(z.object({ epoch: z.int(), channels: z.array(channel.extend({ descriptor: bytesSchema })).max(8) }), z.null()),
  begin: method(z.object({ epoch: z.int(), direct: z.object({ host: z.string().max(255), port: z.int().min(1).max(65535) }) }), z.null()),
  abort: method(z.object({ epoch: z.int(), reason: z.string().max(1000) }), z.null()),
  status: method(z.object({}), rankStatusSchema),
});
