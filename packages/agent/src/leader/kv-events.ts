import type { Engine, KVCacheEvent } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import { subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { KVEventFeed } from './kv-event-feed.ts';
import { kvEventMessages } from './kv-event-messages.ts';
import type { KVEventsConfig } from './kv-events-config.ts';
import { ZmqKVEvents } from './zmq-kv-events.ts';

export interface KVEvents extends AsyncDisposable {
  /** For the engine's observer. */
  push(events: readonly KVCacheEvent[]): void;
}

/** Serves the engine's KV events as a stream on `bus` and, where configured, over ZMQ. */
export async function serveKVEvents(of: {
  readonly engine: Engine;
  readonly bus: MessageBus;
  readonly group: string;
  readonly replica: number;
  readonly numReplicas: number;
  readonly zmq: KVEventsConfig | null;
  readonly logger: Logger;
}): Promise<KVEvents> {
  const { engine, bus, group, replica, logger } = of;
  await using stack = new AsyncDisposableStack();
  const feed = new KVEventFeed(() => engine.cachedBlocks());
  stack.defer(() => feed.close());
  const stop = new AbortController();
  const served = bus.serveStream(subjects.kvEvents(group, replica), async function* (_message, signal) {
    const ended = AbortSignal.any([signal, stop.signal]);
    for await (const batch of feed.listen(ended, { snapshot: true })) yield* kvEventMessages(batch);
  });
  stack.defer(() => served.close());
  if (of.zmq) {
    const zmq = await ZmqKVEvents.bind(of.zmq, of.numReplicas > 1 ? replica : null);
    stack.use(zmq);
    logger.info(`KV events are published on ${zmq.endpoint}`);
    const publishing = zmq.run(feed.listen(stop.signal, { snapshot: false }));
    publishing.catch((error: unknown) => logger.error({ err: error }, 'KV events are no longer published over ZMQ'));
    stack.defer(() => publishing.catch(() => {}));
  }
  stack.defer(() => stop.abort());
  const owned = stack.move();
  return {
    push: (events) => feed.push(events),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
