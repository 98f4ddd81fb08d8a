import type { Identity } from '@skein/protocol';
import { addresses } from './addresses.ts';
import type { Envelope } from './envelope.ts';
import type { Link } from './link.ts';
import type { BusMessage } from './message-bus.ts';
import { errorEnvelope } from './reply-error.ts';
import { cancelled, closed, keyOf, overloaded } from './request-server.ts';
import { StreamProducer } from './stream-producer.ts';

export type StreamHandler = (message: BusMessage, signal: AbortSignal) => AsyncIterable<unknown>;

const STREAMS_MAX = 4096;

/** Answers the streams opened on one subject. */
export class StreamServer {
  readonly #link: Link;
  readonly #subject: string;
  readonly #handler: StreamHandler;
  readonly #producers = new Map<string, StreamProducer>();
  readonly #stopListening: () => void;

  constructor(link: Link, subject: string, handler: StreamHandler) {
    this.#link = link;
    this.#subject = subject;
    this.#handler = handler;
    this.#stopListening = link.listen(addresses.stream(subject), (envelope, from) => {
      if (envelope && from) this.#receive(envelope, from);
    });
  }

  close(): void {
    this.#stopListening();
    for (const producer of this.#producers.values()) producer.abort(closed(this.#subject));
    this.#producers.clear();
  }

  #receive(envelope: Envelope, from: Identity): void {
    switch (envelope.kind) {
      case 'open':
        this.#open(envelope, from);
        break;
      case 'taken':
        this.#producers.get(keyOf(from, envelope.call))?.onTaken(envelope.count);
        break;
      case 'cancel':
        this.#producers.get(keyOf(from, envelope.call))?.abort(cancelled(this.#subject));
        break;
      default:
    }
  }

  #open(open: Envelope & { kind: 'open' }, from: Identity): void {
    const key = keyOf(from, open.call);
    if (this.#producers.has(key)) return;
    const to = addresses.call(from.incarnation, open.call);
    if (this.#producers.size >= STREAMS_MAX) {
      this.#link.tell(to, errorEnvelope(open.call, overloaded(this.#subject)));
      return;
    }
    const producer = new StreamProducer(this.#link, { ...open, subject: this.#subject, to });
    this.#producers.set(key, producer);
    const message: BusMessage = { subject: this.#subject, from, data: open.data };
    void producer.run((signal) => this.#handler(message, signal)).finally(() => this.#producers.delete(key));
  }
}
