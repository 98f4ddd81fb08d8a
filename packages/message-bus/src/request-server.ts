import type { Identity } from '@skein/protocol';
import { addresses } from './addresses.ts';
import type { Envelope } from './envelope.ts';
import { MessageBusError } from './errors.ts';
import type { Link } from './link.ts';
import type { BusMessage } from './message-bus.ts';
import { errorEnvelope } from './reply-error.ts';

export type RequestHandler = (message: BusMessage, signal: AbortSignal) => Promise<unknown>;

/** Requests of one subject that may be handled at once; those beyond are refused with ERR_OVERLOADED. */
const HANDLERS_MAX = 4096;

/** Answers the requests on one subject. */
export class RequestServer {
  readonly #link: Link;
  readonly #subject: string;
  readonly #handler: RequestHandler;
  readonly #running = new Map<string, AbortController>();
  readonly #stopListening: () => void;

  constructor(link: Link, subject: string, handler: RequestHandler) {
    this.#link = link;
    this.#subject = subject;
    this.#handler = handler;
    this.#stopListening = link.listen(addresses.request(subject), (envelope, from) => {
      if (envelope?.kind === 'request' && from) void this.#serve(envelope, from);
      if (envelope?.kind === 'cancel' && from) this.#running.get(keyOf(from, envelope.call))?.abort(cancelled(subject));
    });
  }

  /** Serves no more, and aborts what is running. */
  close(): void {
    this.#stopListening();
    for (const controller of this.#running.values()) controller.abort(closed(this.#subject));
    this.#running.clear();
  }

  async #serve(request: Envelope & { kind: 'request' }, from: Identity): Promise<void> {
    const { call, deadlineMs, data } = request;
    const key = keyOf(from, call);
    if (this.#running.has(key)) return;
    const replyTo = addresses.call(from.incarnation, call);
    if (this.#running.size >= HANDLERS_MAX) {
      this.#link.tell(replyTo, errorEnvelope(call, overloaded(this.#subject)));
      return;
    }
    const controller = new AbortController();
    this.#running.set(key, controller);
    // The caller has given up by then, and its cancel may have been lost.
    const timer = setTimeout(() => controller.abort(tooLate(this.#subject, deadlineMs)), deadlineMs);
    let answer: Envelope;
    try {
      answer = {
        kind: 'reply',
        call,
        data: await this.#handler({ subject: this.#subject, from, data }, controller.signal),
      };
    } catch (error) {
      answer = errorEnvelope(call, error);
    }
    try {
      await this.#reply(replyTo, answer, controller.signal);
    } finally {
      clearTimeout(timer);
      this.#running.delete(key);
    }
  }

  async #reply(replyTo: string, answer: Envelope, signal: AbortSignal): Promise<void> {
    try {
      // An answer that is ready while the bus is disconnected is worth keeping until its deadline.
      await this.#link.whenConnected(signal);
      if (!signal.aborted) this.#link.tell(replyTo, answer);
    } catch (error) {
      // An answer too large, or of what cannot be sent, is the handler's error.
      if (!signal.aborted && 'call' in answer) this.#link.tell(replyTo, errorEnvelope(answer.call, error));
    }
  }
}

export function keyOf(from: Identity, call: number): string {
  return `${from.incarnation}/${call}`;
}

export function cancelled(subject: string): MessageBusError {
  return new MessageBusError('ERR_ABORTED', `${subject}: the caller cancelled`);
}

export function closed(subject: string): MessageBusError {
  return new MessageBusError('ERR_CLOSED', `${subject} is served no longer`);
}

export function overloaded(subject: string): MessageBusError {
  return new MessageBusError('ERR_OVERLOADED', `${subject}: ${HANDLERS_MAX} requests are being handled`);
}

function tooLate(subject: string, deadlineMs: number): MessageBusError {
  return new MessageBusError('ERR_DEADLINE', `${subject}: the caller's ${deadlineMs} ms have passed`);
}
