import { type BusTarget, natsToken, startLocalHub, startNatsServer } from '@skein/message-bus';

/** A bus for one test. */
export interface Place extends AsyncDisposable {
  readonly target: BusTarget;
}

const groupKey = 'a key for tests';

export async function localPlace(): Promise<Place> {
  const hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey });
  if (!hub.address) throw new Error('the hub has no address');
  return { target: { hub: hub.address, groupKey }, [Symbol.asyncDispose]: () => hub.close() };
}

export async function natsPlace(): Promise<Place> {
  const server = await startNatsServer({ host: '127.0.0.1', port: 0, token: natsToken(groupKey) });
  return { target: { nats: [server.url], groupKey }, [Symbol.asyncDispose]: () => server.stop() };
}
