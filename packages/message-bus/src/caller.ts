import type { Identity } from '@skein/protocol';
import { addresses } from './addresses.ts';
import { CREDIT_MAX, DURATION_MS_MAX, type Envelope } from './envelope.ts';
import { MessageBusError } from './errors.ts';
import type { Link } from './link.ts';
import type { RequestOptions, StreamOptions } from './message-bus.ts';
import { aborted, type OpenCall, remoteError, withSubject } from './open-call.ts';
import { StreamConsumer } from './stream-consumer.ts';

/** Requests and streams a bus may have open at once. */
const CALLS_MAX = 16_384;
const CREDIT_DEFAULT = 64;

/** The caller's side of requests and streams: one inbox, answers told apart by call number. */
export class Caller {
  readonly #link: Link;
  readonly #calls = new Map<number, OpenCall>();
  #lastCall = 0;

  constructor(link: Link) {
    this.#link = link;
    link.listen(addresses.inbox(link.identity.incarnation), (envelope, from, subject) => {
      const call = this.#calls.get(Number(subject.slice(subject.lastIndexOf('.') + 1)));
      if (!call) return;
      if (envelope === null || from === null) call.fail(noResponder());
      else call.onAnswer(envelope, from);
    });
    link.onConnectionChange((connected) => {
      if (connected) return;
      // A reply may have been lost on the way: the outcome is unknown, and the caller had better learn it now. Streams
      // go on: their counts show whether anything was lost.
      for (const call of [...this.#calls.values()]) if (call instanceof RequestCall) call.fail(disconnected());
    });
  }

  get numOpen(): number {
    return this.#calls.size;
  }

  async request(subject: string, data: unknown, options: RequestOptions): Promise<unknown> {
    const deadlineMs = checkDuration(options.deadlineMs, 'deadlineMs');
    const { signal } = options;
    if (signal?.aborted) throw aborted(subject, signal);
    const id = this.#newCall(subject);
    const to = addresses.request(subject);
    const call = new RequestCall(subject);
    this.#calls.set(id, call);
    const leave = (error: MessageBusError): void => {
      call.fail(error);
      this.#link.tell(to, { kind: 'cancel', call: id });
    };
    const onAbort = (): void => leave(aborted(subject, signal));
    const timer = setTimeout(() => {
      leave(
        new MessageBusError('ERR_DEADLINE', `${subject}: no answer within ${deadlineMs} ms`, {
          details: { subject, deadlineMs },
        }),
      );
    }, deadlineMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const envelope: Envelope = { kind: 'request', call: id, deadlineMs, data };
      if (!this.#link.send(to, envelope, addresses.call(this.#link.identity.incarnation, id))) {
        throw this.#link.whyDropped(subject);
      }
      return await call.answer;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      this.#calls.delete(id);
    }
  }

  openStream(subject: string, data: unknown, options: StreamOptions): AsyncIterable<unknown> {
    const idleMs = checkDuration(options.idleMs, 'idleMs');
    const credit = options.credit ?? CREDIT_DEFAULT;
    if (!Number.isInteger(credit) || credit < 1 || credit > CREDIT_MAX) {
      throw new RangeError(`credit is ${credit}; it is 1 to ${CREDIT_MAX}`);
    }
    return {
      [Symbol.asyncIterator]: () => {
        const call = this.#newCall(subject);
        const consumer = new StreamConsumer(this.#link, {
          subject,
          call,
          idleMs,
          credit,
          signal: options.signal,
          onClosed: () => this.#calls.delete(call),
        });
        this.#calls.set(call, consumer);
        consumer.open(data);
        return consumer;
      },
    };
  }

  /** Fails all that is open. */
  close(): void {
    for (const call of [...this.#calls.values()]) call.fail(new MessageBusError('ERR_CLOSED', 'the bus was closed'));
  }

  #newCall(subject: string): number {
    this.#link.checkOpen();
    if (this.#calls.size >= CALLS_MAX) {
      throw new MessageBusError('ERR_OVERLOADED', `${subject}: ${CALLS_MAX} requests and streams are open already`);
    }
    this.#lastCall += 1;
    return this.#lastCall;
  }
}

class RequestCall implements OpenCall {
  readonly answer: Promise<unknown>;
  readonly #subject: string;
  readonly #resolve: (answer: unknown) => void;
  readonly #reject: (error: Error) => void;

  constructor(subject: string) {
    this.#subject = subject;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.answer = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    // The answer may fail before anyone waits for it, as when sending throws.
    promise.catch(() => {});
  }

  onAnswer(envelope: Envelope, from: Identity): void {
    if (envelope.kind === 'reply') this.#resolve(envelope.data);
    else if (envelope.kind === 'error') this.#reject(remoteError(envelope, from));
  }

  fail(error: MessageBusError): void {
    this.#reject(withSubject(error, this.#subject));
  }
}

function noResponder(): MessageBusError {
  return new MessageBusError('ERR_NO_RESPONDER', 'nobody serves this subject');
}

function disconnected(): MessageBusError {
  return new MessageBusError('ERR_DISCONNECTED', 'the bus was disconnected before the answer came');
}

function checkDuration(ms: number, name: string): number {
  if (!Number.isInteger(ms) || ms < 1 || ms > DURATION_MS_MAX) {
    throw new RangeError(`${name} is ${ms}; it is 1 to ${DURATION_MS_MAX} whole milliseconds`);
  }
  return ms;
}
