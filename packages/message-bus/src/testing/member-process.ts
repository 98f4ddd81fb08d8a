// A member of a bus in a process of its own, which a test can freeze and kill.
import type { Identity } from '@skein/protocol';
import { CarrierBus } from '../carrier-bus.ts';
import type { BusTarget } from '../bus-target.ts';
import { openCarrier } from './target.ts';

export interface MemberOrder {
  readonly target: BusTarget;
  readonly identity: Identity;
  readonly lease?: { readonly key: string; readonly ttlMs: number };
  /** Serves a stream that counts for ever. */
  readonly serves?: string;
  /** Reads a stream for ever, and a subject. */
  readonly reads?: string;
}

process.once('disconnect', () => process.exit());
process.once('message', (order: MemberOrder) => void start(order));

async function start(order: MemberOrder): Promise<void> {
  const bus = new CarrierBus(order.identity, await openCarrier(order.target, order.identity));
  if (order.lease) bus.announce(order.lease.key, 'here', { ttlMs: order.lease.ttlMs });
  if (order.serves !== undefined) {
    bus.serveStream(order.serves, async function* count() {
      for (let value = 0; ; value++) yield value;
    });
  }
  if (order.reads !== undefined) {
    bus.subscribe(order.reads, () => {});
    void read(bus.openStream(order.reads, null, { idleMs: 2000, credit: 8 }));
  }
  await bus.flush();
  process.send?.('ready');
}

async function read(values: AsyncIterable<unknown>): Promise<void> {
  let last: unknown;
  for await (const value of values) last = value;
  process.send?.({ last });
}
