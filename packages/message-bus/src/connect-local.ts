import type { Identity } from '@skein/protocol';
import { CarrierBus } from './carrier-bus.ts';
import { MessageBusError } from './errors.ts';
import { HubWire } from './hub-wire.ts';
import type { HubAddress } from './local-hub.ts';
import type { MessageBus } from './message-bus.ts';
import { type ConnectOptions, ReconnectingCarrier } from './reconnecting-carrier.ts';

export interface ConnectLocalOptions extends ConnectOptions {
  readonly address: HubAddress;
  readonly identity: Identity;
  readonly groupKey: string | null;
}

/** Connects to a hub. Waits for one that does not listen yet; reconnects for ever once it was connected.
 *  @throws ERR_DEADLINE, ERR_GROUP_KEY at once, and the signal's reason. */
export async function connectLocal(options: ConnectLocalOptions): Promise<MessageBus> {
  return new CarrierBus(options.identity, await openLocalCarrier(options), options.onWarning);
}

export async function openLocalCarrier(options: ConnectLocalOptions): Promise<ReconnectingCarrier> {
  const { address, groupKey } = options;
  if (groupKey === '') throw new MessageBusError('ERR_GROUP_KEY', 'the group key is empty; null means none');
  const place = 'path' in address ? address.path : `${address.host}:${address.port}`;
  return ReconnectingCarrier.open(`the hub at ${place}`, (events) => HubWire.dial(options, events), options);
}
