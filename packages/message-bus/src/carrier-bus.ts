import type { Identity } from '@skein/protocol';
import { addresses } from './addresses.ts';
import { Caller } from './caller.ts';
import type { Carrier } from './carrier.ts';
import { MessageBusError } from './errors.ts';
import { LeaseHolder } from './lease-holder.ts';
import { LeaseWatcher } from './lease-watcher.ts';
import { Link } from './link.ts';
import type {
  BusCounters,
  BusMessage,
  Lease,
  LeaseEvent,
  LeaseWatch,
  MessageBus,
  RequestOptions,
  StreamOptions,
  SubscribeOptions,
  Subscription,
} from './message-bus.ts';
import { type RequestHandler, RequestServer } from './request-server.ts';
import { GapDetector, SequenceNumbers } from './sequence.ts';
import { type StreamHandler, StreamServer } from './stream-server.ts';
import { checkPattern, checkSubject } from './subject.ts';
import type { OnWarning } from './warning.ts';

/** Time that `close` gives the last frames to leave. */
const FAREWELL_MS = 1000;

/** The one implementation of the bus, over any carrier. */
export class CarrierBus implements MessageBus {
  readonly identity: Identity;
  readonly #link: Link;
  readonly #caller: Caller;
  readonly #leases: LeaseHolder;
  readonly #numbers = new SequenceNumbers();
  readonly #servers = new Map<string, RequestServer | StreamServer>();
  readonly #watchers = new Set<LeaseWatcher>();
  #closing: Promise<void> | null = null;

  /** Takes over the carrier, and closes it with itself. */
  constructor(identity: Identity, carrier: Carrier, onWarning?: OnWarning) {
    this.identity = identity;
    this.#link = new Link(identity, carrier, onWarning);
    this.#caller = new Caller(this.#link);
    this.#leases = new LeaseHolder(this.#link);
  }

  get maxPayloadBytes(): number {
    return this.#link.dataBytesMax;
  }

  get connected(): boolean {
    return this.#link.carrier.connected;
  }

  get counters(): BusCounters {
    return this.#link.counters;
  }

  onConnectionChange(listener: (connected: boolean) => void): () => void {
    return this.#link.onConnectionChange(listener);
  }

  publish(subject: string, message: unknown): void {
    const seq = this.#numbers.next(checkSubject(subject));
    this.#link.send(addresses.message(subject), { kind: 'message', seq, data: message });
    // A dropped message uses its number up, so that subscribers see the gap.
    this.#numbers.used(subject, seq);
  }

  subscribe(subject: string, handler: (message: BusMessage) => void, options: SubscribeOptions = {}): Subscription {
    const gaps = new GapDetector();
    const prefixLength = addresses.message('').length;
    const stop = this.#link.listen(addresses.message(checkPattern(subject)), (envelope, from, address) => {
      if (envelope?.kind !== 'message' || !from) return;
      const of = address.slice(prefixLength);
      const missing = gaps.missingBefore(from, of, envelope.seq);
      if (missing === null) return;
      if (missing > 0) {
        this.#link.counters.messagesMissing += missing;
        this.#link.guard(of, () => options.onGap?.({ from, missing }));
      }
      handler({ subject: of, from, data: envelope.data });
    });
    return { close: stop };
  }

  serve(subject: string, handler: RequestHandler): Subscription {
    return this.#addServer(`request ${subject}`, () => new RequestServer(this.#link, checkSubject(subject), handler));
  }

  async request(subject: string, message: unknown, options: RequestOptions): Promise<unknown> {
    return this.#caller.request(checkSubject(subject), message, options);
  }

  serveStream(subject: string, handler: StreamHandler): Subscription {
    return this.#addServer(`stream ${subject}`, () => new StreamServer(this.#link, checkSubject(subject), handler));
  }

  openStream(subject: string, message: unknown, options: StreamOptions): AsyncIterable<unknown> {
    return this.#caller.openStream(checkSubject(subject), message, options);
  }

  announce(key: string, value: unknown, options: { readonly ttlMs: number }): Lease {
    this.#link.checkOpen();
    return this.#leases.announce(key, value, options.ttlMs);
  }

  watch(prefix: string, listener: (event: LeaseEvent) => void): LeaseWatch {
    const watcher = new LeaseWatcher(this.#link, prefix, listener);
    this.#watchers.add(watcher);
    return {
      members: watcher.members,
      close: (): void => {
        watcher.close();
        this.#watchers.delete(watcher);
      },
    };
  }

  async flush(): Promise<void> {
    this.#link.checkOpen();
    await this.#link.carrier.flush();
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #addServer(key: string, create: () => RequestServer | StreamServer): Subscription {
    if (this.#servers.has(key)) throw new MessageBusError('ERR_SUBJECT', `this bus serves ${key} already`);
    const server = create();
    this.#servers.set(key, server);
    return {
      close: (): void => {
        server.close();
        if (this.#servers.get(key) === server) this.#servers.delete(key);
      },
    };
  }

  async #close(): Promise<void> {
    this.#leases.close();
    for (const watcher of this.#watchers) watcher.close();
    for (const server of this.#servers.values()) server.close();
    this.#caller.close();
    if (this.connected) await Promise.race([this.#link.carrier.flush().catch(() => {}), farewell()]);
    this.#link.close();
    await this.#link.carrier.close();
  }
}

async function farewell(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, FAREWELL_MS).unref();
  await promise;
}
