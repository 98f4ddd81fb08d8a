import { MessageBusError } from './errors.ts';
import { IdleTimer } from './idle-timer.ts';
import type { Link } from './link.ts';
import { errorEnvelope } from './reply-error.ts';
import { untilAborted } from './until-aborted.ts';

export interface StreamProducerOptions {
  readonly subject: string;
  /** The consumer's inbox. */
  readonly to: string;
  readonly call: number;
  readonly idleMs: number;
  readonly credit: number;
}

/** The writing end of a stream. It asks the handler for a value only when the consumer has credit for it, so a consumer
 *  that stands still stops the handler too, and nothing piles up anywhere between. */
export class StreamProducer {
  readonly #link: Link;
  readonly #options: StreamProducerOptions;
  readonly #controller = new AbortController();
  #sent = 0;
  #taken = 0;
  #wake: (() => void) | null = null;
  #idle: IdleTimer | null = null;

  constructor(link: Link, options: StreamProducerOptions) {
    this.#link = link;
    this.#options = options;
  }

  onTaken(count: number): void {
    this.#idle?.heard();
    if (count <= this.#taken || count > this.#sent) return;
    this.#taken = count;
    this.#wake?.();
  }

  abort(reason: MessageBusError): void {
    this.#controller.abort(reason);
  }

  /** Settles when the stream is over; never rejects. */
  async run(open: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<void> {
    const { to, call, idleMs } = this.#options;
    const { signal } = this.#controller;
    this.#idle = new IdleTimer(idleMs, {
      onTick: () => this.#link.tell(to, { kind: 'sent', call, count: this.#sent }),
      onIdle: () => this.abort(this.#idleError()),
    });
    let iterator: AsyncIterator<unknown> | null = null;
    try {
      iterator = open(signal)[Symbol.asyncIterator]();
      await this.#pump(iterator);
      iterator = null;
      this.#link.tell(to, { kind: 'end', call, count: this.#sent });
    } catch (error) {
      // The handler is told by the signal; it is not waited for, since what it waits for may never come.
      if (iterator) void leave(iterator);
      this.abort(new MessageBusError('ERR_ABORTED', `${this.#options.subject}: the stream failed`, { cause: error }));
      this.#link.tell(to, errorEnvelope(call, error));
    } finally {
      this.#idle.stop();
    }
  }

  async #pump(iterator: AsyncIterator<unknown>): Promise<void> {
    const { to, call } = this.#options;
    const { signal } = this.#controller;
    for (;;) {
      await this.#credit();
      const next = await untilAborted(iterator.next(), signal);
      // A value sent while the bus is down would be a gap; the consumer's idle time bounds the wait.
      await this.#link.whenConnected(signal);
      if (next.done) return;
      if (!this.#link.send(to, { kind: 'value', call, index: this.#sent, data: next.value })) {
        throw this.#link.whyDropped(this.#options.subject);
      }
      this.#sent += 1;
    }
  }

  async #credit(): Promise<void> {
    const { signal } = this.#controller;
    while (this.#sent - this.#taken >= this.#options.credit) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await untilAborted(promise, signal);
    }
    this.#wake = null;
    signal.throwIfAborted();
  }

  #idleError(): MessageBusError {
    const { subject, idleMs } = this.#options;
    return new MessageBusError('ERR_DEADLINE', `${subject}: nothing from the consumer for ${idleMs} ms`, {
      details: { subject, idleMs },
    });
  }
}

async function leave(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.();
  } catch {
    // The consumer has its error already; the one of a handler's clean-up has nobody to go to.
  }
}
