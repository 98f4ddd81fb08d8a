import { z } from 'zod';

/** What one rank tells of itself when it joins, and what the leader needs to form the group. */
export const rankAdvertSchema = z.object({
  workerIndex: z.int().min(0),
  /** Its number in the group: an agent's ranks are neighbours, in the order of worker indices. */
  rankIndex: z.int().min(0),
  pid: z.int().min(1),
  /** Equal for two ranks exactly when they can share memory; see `hostId` in the agent. */
  hostId: z.string().max(200),
  host: z.string().max(255),
  revision: z.string().max(100),
  instructionLevel: z.string().max(50),
  device: z.string().max(100),
  threads: z.int().min(1),
  /** What processes of its host may ever have. */
  memoryBytes: z.int().min(1),
  /** Why UCX cannot be used here; null when it can. */
  ucxUnavailable: z.string().max(2000).nullable(),
});
export type RankAdvert = z.infer<typeof rankAdvertSchema>;

const layerBound = z.number().min(0).multipleOf(0.5);
/** Where a pipeline stage begins and ends, in layers of the model. A half lies between the attention of a layer and its
 *  feed-forward. */
export const layerRangeSchema = z.tuple([layerBound, layerBound]);

export const rankStateSchema = z.enum(['resolve', 'join', 'load', 'connect', 'warm', 'ready', 'failed']);
export type RankState = z.infer<typeof rankStateSchema>;

/** A leader's membership record: what a router knows of one group. */
export const leaderAdvertSchema = z.object({
  group: z.string().max(200),
  url: z.url(),
  model: z.string().max(500),
  fingerprint: z.string().max(200),
  ready: z.boolean(),
  draining: z.boolean(),
  numRequestsRunning: z.int().min(0),
  numRequestsWaiting: z.int().min(0),
  kvCacheUsage: z.number().min(0).max(1),
  maxModelLen: z.int().min(1),
});
export type LeaderAdvert = z.infer<typeof leaderAdvertSchema>;
