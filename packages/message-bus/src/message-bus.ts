import type { Identity } from '@skein/protocol';

/** A small-message bus: NATS between hosts, or a hub of our own (`local`) where no broker is wanted. Both behave the same;
 *  `message-bus.cases.ts` holds them to it. Messages are msgpack values: plain data and Uint8Array, no functions, no class
 *  instances. Nothing here is durable: a bus delivers at most once, and says so with gaps and deadlines. */
export interface MessageBus extends AsyncDisposable {
  readonly identity: Identity;
  /** Largest encoded message in bytes; a larger one is refused with ERR_MESSAGE_TOO_LARGE. */
  readonly maxPayloadBytes: number;
  /** False while the broker or hub cannot be reached. Reconnection is the bus's own job. */
  readonly connected: boolean;
  /** Called on every change of `connected`; returns the function that stops it. */
  onConnectionChange(listener: (connected: boolean) => void): () => void;

  /** Sends and forgets. While disconnected the message is dropped. */
  publish(subject: string, message: unknown): void;
  /** Calls `handler` for each message in arrival order. A gap in one sender's sequence calls `onGap`. */
  subscribe(subject: string, handler: (message: BusMessage) => void, options?: SubscribeOptions): Subscription;

  /** Answers requests on `subject`. `handler`'s thrown SkeinError reaches the caller with code, message and details. */
  serve(subject: string, handler: (message: BusMessage, signal: AbortSignal) => Promise<unknown>): Subscription;
  /** Rejects with ERR_NO_RESPONDER at once when nobody serves the subject, ERR_DEADLINE after `deadlineMs`, ERR_DISCONNECTED,
   *  or the handler's error. Aborting `signal` cancels the handler's. */
  request(subject: string, message: unknown, options: RequestOptions): Promise<unknown>;

  /** Answers with a stream of values; the consumer's credit bounds what is in flight; cancelling aborts `signal`. */
  serveStream(
    subject: string,
    handler: (message: BusMessage, signal: AbortSignal) => AsyncIterable<unknown>,
  ): Subscription;
  /** Opens a stream. Leaving the loop cancels it at the producer. ERR_GAP when a value was lost; ERR_DEADLINE when nothing,
   *  not even a keep-alive, arrives for `idleMs`. */
  openStream(subject: string, message: unknown, options: StreamOptions): AsyncIterable<unknown>;

  /** Holds `value` under `key` for as long as this process lives and can be heard. */
  announce(key: string, value: unknown, options: { readonly ttlMs: number }): Lease;
  /** Follows all leases under a key prefix. Expiry is judged by this process's own clock, and never while this bus is
   *  disconnected ("unreachable" is not "dead"). */
  watch(prefix: string, listener: (event: LeaseEvent) => void): LeaseWatch;

  /** Resolves when everything sent before has passed the broker and subscriptions made before are in force. */
  flush(): Promise<void>;
  readonly counters: BusCounters;

  /** Withdraws leases, aborts handlers, fails what is open with ERR_CLOSED. */
  close(): Promise<void>;
}

/** Frames and messages since the bus was opened. */
export interface BusCounters {
  readonly framesSent: number;
  readonly framesReceived: number;
  /** Not sent: disconnected, or too much waited to be written. */
  readonly framesDropped: number;
  /** From peers, refused by the schema check. */
  readonly framesMalformed: number;
  /** Found missing by subscriptions with and without `onGap`. */
  readonly messagesMissing: number;
  /** Listeners of messages, connections or leases that threw. */
  readonly handlersFailed: number;
}

export interface BusMessage {
  readonly subject: string;
  readonly from: Identity;
  readonly data: unknown;
}

export interface SubscribeOptions {
  /** Messages of one sender on this subject that never arrived. */
  readonly onGap?: (gap: { readonly from: Identity; readonly missing: number }) => void;
}

export interface Subscription {
  close(): void;
}

export interface RequestOptions {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

export interface StreamOptions {
  readonly idleMs: number;
  /** Values the producer may send ahead of the consumer. */
  readonly credit?: number;
  readonly signal?: AbortSignal;
}

export interface Lease {
  update(value: unknown): void;
  /** Withdraws at once; watchers see `left`. */
  close(): void;
}

export interface LeaseMember {
  readonly key: string;
  readonly from: Identity;
  readonly value: unknown;
}

export type LeaseEvent =
  | { readonly type: 'joined' | 'updated'; readonly member: LeaseMember }
  /** `left`: withdrawn by its owner; `expired`: not heard of for its ttl; `replaced`: same key and name, new incarnation. */
  | { readonly type: 'lost'; readonly member: LeaseMember; readonly reason: 'left' | 'expired' | 'replaced' };

export interface LeaseWatch {
  readonly members: ReadonlyMap<string, LeaseMember>;
  close(): void;
}
