import type { Identity } from '@skein/protocol';
import { sameIdentity } from '@skein/protocol';
import { addresses } from './addresses.ts';
import type { Envelope } from './envelope.ts';
import { MessageBusError } from './errors.ts';
import { IdleTimer } from './idle-timer.ts';
import type { Link } from './link.ts';
import { aborted, type OpenCall, remoteError, withSubject } from './open-call.ts';

export interface StreamConsumerOptions {
  readonly subject: string;
  readonly call: number;
  readonly idleMs: number;
  readonly credit: number;
  readonly signal: AbortSignal | undefined;
  readonly onClosed: () => void;
}

/** The reading end of a stream. It holds at most `credit` values, tells the producer how many it has taken, and says so
 *  again as a keep-alive, which also repairs a lost one. */
export class StreamConsumer implements OpenCall, AsyncIterator<unknown> {
  readonly #link: Link;
  readonly #options: StreamConsumerOptions;
  readonly #idle: IdleTimer;
  readonly #values: unknown[] = [];
  readonly #readers: PromiseWithResolvers<IteratorResult<unknown>>[] = [];
  #producer: Identity | null = null;
  #received = 0;
  #taken = 0;
  #told = 0;
  #ended = false;
  #error: Error | null = null;

  constructor(link: Link, options: StreamConsumerOptions) {
    this.#link = link;
    this.#options = options;
    this.#idle = new IdleTimer(options.idleMs, {
      onTick: () => this.#tellTaken(),
      onIdle: () => this.#leave(this.#idleError()),
    });
  }

  open(data: unknown): void {
    const { subject, call, idleMs, credit, signal } = this.#options;
    if (signal?.aborted) {
      this.fail(aborted(subject, signal));
      return;
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    try {
      const replyTo = addresses.call(this.#link.identity.incarnation, call);
      const envelope: Envelope = { kind: 'open', call, idleMs, credit, data };
      if (!this.#link.send(addresses.stream(subject), envelope, replyTo)) this.fail(this.#link.whyDropped(subject));
    } catch (error) {
      this.#finish(null);
      throw error;
    }
  }

  async next(): Promise<IteratorResult<unknown>> {
    if (this.#values.length > 0) {
      const value = this.#values.shift();
      this.#taken += 1;
      // Half the credit at a time keeps the producer busy with few messages.
      if ((this.#taken - this.#told) * 2 >= this.#options.credit) this.#tellTaken();
      return { value, done: false };
    }
    if (this.#error) {
      const error = this.#error;
      this.#error = null;
      throw error;
    }
    if (this.#ended) return { value: undefined, done: true };
    const reader = Promise.withResolvers<IteratorResult<unknown>>();
    this.#readers.push(reader);
    return reader.promise;
  }

  async return(): Promise<IteratorResult<unknown>> {
    this.#values.length = 0;
    this.#error = null;
    this.#leave(null);
    return { value: undefined, done: true };
  }

  onAnswer(envelope: Envelope, from: Identity): void {
    this.#producer ??= from;
    // A second process that serves the same subject has a stream of its own that nobody takes; it ends by being idle.
    if (this.#ended || !sameIdentity(this.#producer, from)) return;
    this.#idle.heard();
    switch (envelope.kind) {
      case 'value':
        this.#onValue(envelope.index, envelope.data);
        break;
      case 'sent':
      case 'end':
        if (envelope.count > this.#received) this.#leave(this.#gap(envelope.count));
        else if (envelope.kind === 'end') this.#finish(null);
        break;
      case 'error':
        this.#finish(remoteError(envelope, from));
        break;
      default:
    }
  }

  fail(error: MessageBusError): void {
    this.#finish(withSubject(error, this.#options.subject));
  }

  #onValue(index: number, value: unknown): void {
    if (index < this.#received) return;
    if (index > this.#received) {
      this.#leave(this.#gap(index));
      return;
    }
    this.#received += 1;
    const reader = this.#readers.shift();
    if (!reader) {
      this.#values.push(value);
      if (this.#values.length > this.#options.credit) {
        this.#leave(
          new MessageBusError('ERR_MALFORMED', `${this.#options.subject}: more values than the credit allows`),
        );
      }
      return;
    }
    this.#taken += 1;
    if ((this.#taken - this.#told) * 2 >= this.#options.credit) this.#tellTaken();
    reader.resolve({ value, done: false });
  }

  #tellTaken(): void {
    const { subject, call } = this.#options;
    this.#told = this.#taken;
    this.#link.tell(addresses.stream(subject), { kind: 'taken', call, count: this.#taken });
  }

  readonly #onAbort = (): void => {
    this.#values.length = 0;
    this.#leave(aborted(this.#options.subject, this.#options.signal));
  };

  #leave(error: MessageBusError | null): void {
    if (this.#ended) return;
    const { subject, call } = this.#options;
    this.#link.tell(addresses.stream(subject), { kind: 'cancel', call });
    this.#finish(error);
  }

  #finish(error: Error | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#idle.stop();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#options.onClosed();
    const [first, ...others] = this.#readers.splice(0);
    if (first && error) first.reject(error);
    else if (first) first.resolve({ value: undefined, done: true });
    else this.#error = error;
    for (const reader of others) reader.resolve({ value: undefined, done: true });
  }

  #gap(sent: number): MessageBusError {
    const missing = sent - this.#received;
    return new MessageBusError('ERR_GAP', `${this.#options.subject}: ${missing} values of the stream were lost`, {
      details: { subject: this.#options.subject, missing },
    });
  }

  #idleError(): MessageBusError {
    const { subject, idleMs } = this.#options;
    if (!this.#link.carrier.connected) return this.#link.whyDropped(subject);
    return new MessageBusError('ERR_DEADLINE', `${subject}: nothing from the producer for ${idleMs} ms`, {
      details: { subject, idleMs },
    });
  }
}
