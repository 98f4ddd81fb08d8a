import { actorClass, method } from '@skein/actor';
import { type Identity, subjects } from '@skein/protocol';
import { z } from 'zod';

const address = z.string().max(100);
const worker = z.int().min(0).max(4095);
const port = z.int().min(1).max(65_535);
const bytes = z.int().min(0);

/** Where an agent can be probed. */
const placeSchema = z.object({
  interfaceName: z.string().max(50),
  address,
  port,
  /** Of the interface, in bytes. */
  mtu: z.int().min(1),
  /** Why this interface; completes "uses eth0: ". */
  why: z.string().max(300),
  others: z.array(z.object({ name: z.string().max(50), address })).max(8),
  /** The ports that its kernel chooses from: `32768-60999`. */
  localPorts: z.string().max(20),
});
export type Place = z.infer<typeof placeSchema>;

/** What one agent found out about the way to another; see Reach. */
const reportSchema = z.object({
  worker,
  dial: z.string().max(100),
  hostAnswers: z.boolean(),
  problem: z.string().max(500),
  rttUs: bytes.nullable(),
  packetBytes: bytes.nullable(),
  crossedBytes: bytes.nullable(),
  bytesPerSecond: bytes.nullable(),
});
export type PairReport = z.infer<typeof reportSchema>;

/** A way that works where the chosen one does not. */
const detourSchema = z.object({
  worker,
  /** The peer's address that answers; null when none does. */
  address: address.nullable(),
  /** The interface of this host by which that way leaves; null when it is not known. */
  interfaceName: z.string().max(50).nullable(),
});
export type Detour = z.infer<typeof detourSchema>;

/** What the leader asks of every agent, in this order. Messages stay small: the bus may cross the same bad path. */
export const PreflightActor = actorClass('Preflight', {
  /** Listens for probes, until `close` or for half a minute. */
  open: method(z.object({}), placeSchema),
  probe: method(
    z.object({
      peers: z
        .array(
          z.object({
            worker,
            address,
            port,
            mtu: z.int().min(1),
            /** Of another port at the same address: one that is open, or one that the host itself answers for. */
            referencePort: port,
          }),
        )
        .max(4096),
    }),
    z.array(reportSchema),
  ),
  /** Looks for other ways to peers that could not be reached. `addresses`: the one that was tried, then the peer's others. */
  seek: method(
    z.object({ peers: z.array(z.object({ worker, addresses: z.array(address).min(1).max(9) })).max(64) }),
    z.array(detourSchema),
  ),
  close: method(z.object({}), z.null()),
});

/** Where an agent (or a doctor in its stead) takes these calls. */
export function preflightSubject(group: string, workerIndex: number, agent: Identity): string {
  return `${subjects.preflight(group, workerIndex)}.${agent.incarnation}`;
}
