import { z } from 'zod';
import { bytesSchema } from './bytes.ts';

/** What happens to a leader's prefix cache, in vLLM's words, as the bus carries it: hashes and token ids are packed, since
 *  there are many. Of a hash, 8 bytes, big-endian; of a token id, 4 bytes, little-endian. */
export const kvEventSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BlockStored'),
    /** Consecutive blocks of one prompt. */
    block_hashes: bytesSchema,
    /** Null before a prompt's first block. */
    parent_block_hash: bytesSchema.nullable(),
    /** block_size for each block. */
    token_ids: bytesSchema,
    block_size: z.int().min(1),
    /** Client and cache salt that a prompt's first block is bound to; null for anybody's, and for later blocks. */
    extra_keys: z.array(z.string()).nullable(),
  }),
  z.object({ type: z.literal('BlockRemoved'), block_hashes: bytesSchema }),
  z.object({ type: z.literal('AllBlocksCleared') }),
]);
export type KVEventMessage = z.infer<typeof kvEventSchema>;

/** `sequence` counts a leader's batches, from 1. A stream begins with a snapshot, which has the number of the last batch in it:
 *  AllBlocksCleared, then all that is cached. A large batch comes in several messages with one number. */
export const kvEventBatchSchema = z.object({
  sequence: z.int().min(0),
  /** Unix seconds. */
  ts: z.number(),
  events: z.array(kvEventSchema),
});
export type KVEventBatchMessage = z.infer<typeof kvEventBatchSchema>;
