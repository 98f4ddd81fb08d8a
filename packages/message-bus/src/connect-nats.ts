import type { Identity } from '@skein/protocol';
import { CarrierBus } from './carrier-bus.ts';
import { MessageBusError } from './errors.ts';
import type { MessageBus } from './message-bus.ts';
import { natsToken } from './nats-token.ts';
import { type ConnectOptions, type Dial, ReconnectingCarrier } from './reconnecting-carrier.ts';

export interface ConnectNatsOptions extends ConnectOptions {
  /** `nats://host:port`, with `user:password@` or `token@` before the host for a broker that has credentials of its own. */
  readonly servers: readonly string[];
  readonly identity: Identity;
  /** Makes the token, unless the url of the first server brings credentials. Null: none. */
  readonly groupKey: string | null;
}

/** Connects to a NATS broker. Waits for one that does not listen yet; reconnects for ever once it was connected.
 *  @throws ERR_DEADLINE, ERR_ADDRESS and ERR_GROUP_KEY at once, and the signal's reason. */
export async function connectNats(options: ConnectNatsOptions): Promise<MessageBus> {
  return new CarrierBus(options.identity, await openNatsCarrier(options), options.onWarning);
}

export async function openNatsCarrier(options: ConnectNatsOptions): Promise<ReconnectingCarrier> {
  const { identity, groupKey } = options;
  const urls = options.servers.map(parseServer);
  const servers = urls.map((url) => url.host);
  const connection = { servers, name: identity.name, ...credentials(urls[0], groupKey) };
  // The library, and TLS with it, is for those who have a broker.
  const dial: Dial = async (events) => {
    const { NatsWire } = await import('./nats-wire.ts');
    return NatsWire.dial({ ...connection, servers: [...servers] }, events);
  };
  return ReconnectingCarrier.open(`the NATS broker at ${servers.join(', ')}`, dial, options);
}

function parseServer(server: string): URL {
  const url = URL.parse(server);
  if (url?.protocol !== 'nats:' || url.hostname === '') {
    const shown = server.replace(/^(.*:\/\/)?.*@/, '$1…@');
    throw new MessageBusError('ERR_ADDRESS', `"${shown}" is no NATS server; write it as nats://host:port`);
  }
  if (url.port === '') url.port = '4222';
  return url;
}

function credentials(url: URL | undefined, groupKey: string | null): { user?: string; pass?: string; token?: string } {
  if (!url) throw new MessageBusError('ERR_ADDRESS', 'no NATS server is given');
  const user = decodeURIComponent(url.username);
  if (user !== '' && url.password !== '') return { user, pass: decodeURIComponent(url.password) };
  if (user !== '') return { token: user };
  return groupKey === null ? {} : { token: natsToken(groupKey) };
}
