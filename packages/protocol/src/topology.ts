import { z } from 'zod';
import { identitySchema } from './identity.ts';
import { layerRangeSchema, rankStateSchema } from './group.ts';

const rankSchema = identitySchema.extend({
  workerIndex: z.int(),
  rankIndex: z.int(),
  pid: z.int(),
  host: z.string(),
  /** The data-parallel replica that it is part of, its pipeline stage, and its place among the ranks that share the stage. */
  replica: z.int(),
  stage: z.int(),
  tensorRank: z.int(),
  /** Of this rank's stage. */
  layers: layerRangeSchema.nullable(),
  device: z.string(),
  instructionLevel: z.string(),
  state: rankStateSchema,
  stateSeconds: z.number(),
  detail: z.string(),
  /** Steps that it has run, and what it spent in them: computing, and waiting for other ranks. */
  steps: z.int(),
  computeUs: z.number(),
  waitUs: z.number(),
});

const pairSchema = z.object({
  from: z.string(),
  to: z.string(),
  transport: z.enum(['shm', 'tcp']),
  bytes: z.number(),
  messages: z.number(),
});

/** What the preflight between the group's hosts found: every ordered pair of agents on different hosts. */
const networkSchema = z.object({
  agents: z.array(
    z.object({
      workerIndex: z.int(),
      host: z.string(),
      interface: z.string(),
      address: z.string(),
      /** Why this interface. */
      why: z.string(),
      mtu: z.int(),
    }),
  ),
  pairs: z.array(
    z.object({
      from: z.int(),
      to: z.int(),
      /** A word such as `no-route`; null for none. */
      fault: z.string().nullable(),
      rttUs: z.number().nullable(),
      /** Of a burst of 1 MiB or 50 ms. */
      bytesPerSecond: z.number().nullable(),
      /** The largest packet that crossed, IP header included. */
      packetBytes: z.number().nullable(),
    }),
  ),
  /** Each with its remedy. */
  faults: z.array(z.string()),
});
export type NetworkTopology = z.infer<typeof networkSchema>;

/** What `GET /v1/skein/topology` answers, on the leader (one group) and on the router (all of them). */
export const topologySchema = z.object({
  groups: z.array(
    z.object({
      name: z.string(),
      url: z.string(),
      ready: z.boolean(),
      state: z.string(),
      stateSeconds: z.number(),
      epoch: z.int(),
      model: z.string(),
      /** What the weights are quantized to, or how they are stored: a value of `--quantization`; null where it is not known. */
      quantization: z.string().nullable(),
      fingerprint: z.string(),
      warnings: z.array(z.string()),
      agents: z.array(identitySchema.extend({ workerIndex: z.int(), host: z.string(), pid: z.int() })),
      ranks: z.array(rankSchema),
      pairs: z.array(pairSchema),
      /** Null until it was measured, and for a group on one host. */
      network: networkSchema.nullable(),
    }),
  ),
});
export type Topology = z.infer<typeof topologySchema>;
export type GroupTopology = Topology['groups'][number];
