import type { Identity } from '@skein/protocol';
import { z } from 'zod';
import { connectLocal } from './connect-local.ts';
import { connectNats } from './connect-nats.ts';
import type { HubAddress } from './local-hub.ts';
import type { MessageBus } from './message-bus.ts';
import type { ConnectOptions } from './reconnecting-carrier.ts';

/** How to join a bus, as plain data that can be handed to a child process. It holds the group key: pass it over a channel
 *  that only the child reads, never in argv or the environment. */
export type BusTarget = { readonly groupKey: string | null } & (
  | { readonly nats: readonly string[] }
  | { readonly hub: HubAddress }
);

const groupKey = z.string().min(1).max(1000).nullable();
const hub = z.union([
  z.object({ host: z.string().max(255), port: z.int().min(1).max(65_535) }),
  z.object({ path: z.string().max(255) }),
]);

export const busTargetSchema: z.ZodType<BusTarget> = z.union([
  z.object({ groupKey, nats: z.array(z.string().max(1000)).min(1).max(100) }),
  z.object({ groupKey, hub }),
]);

/** Connects to whichever it is; errors as of `connectNats` and `connectLocal`. */
export async function connectBus(
  target: BusTarget,
  options: ConnectOptions & { readonly identity: Identity },
): Promise<MessageBus> {
  const { groupKey } = target;
  if ('nats' in target) return connectNats({ ...options, servers: target.nats, groupKey });
  return connectLocal({ ...options, address: target.hub, groupKey });
}
