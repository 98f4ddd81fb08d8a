import { type Identity, newIdentity } from '@skein/protocol';
import type { BusTarget } from '../bus-target.ts';
import type { Carrier } from '../carrier.ts';
import { openLocalCarrier } from '../connect-local.ts';
import { openNatsCarrier } from '../connect-nats.ts';
import type { OnWarning } from '../warning.ts';

export interface OpenOptions {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  readonly onWaiting?: (reason: string) => void;
  readonly onWarning?: OnWarning;
}

export async function openCarrier(target: BusTarget, identity: Identity, options: OpenOptions = {}): Promise<Carrier> {
  const { groupKey } = target;
  const common = { deadlineMs: 10_000, ...options, identity, groupKey };
  if ('nats' in target) return openNatsCarrier({ ...common, servers: target.nats });
  return openLocalCarrier({ ...common, address: target.hub });
}

export function identityOf(who: string | Identity): Identity {
  return typeof who === 'string' ? newIdentity(who) : who;
}
