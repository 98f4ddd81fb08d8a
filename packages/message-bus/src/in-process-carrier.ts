import { type Carrier, type OnFrame, QUEUED_BYTES_MAX } from './carrier.ts';
import { MessageBusError } from './errors.ts';
import type { HubPeer, HubStar } from './hub-star.ts';
import { SubjectTable } from './subject.ts';

interface Arrived {
  readonly subject: string;
  readonly frame: Uint8Array | null;
}

/** Hangs a bus on a hub in the same process, without a socket. Frames are handed over in the next turn of the event loop:
 *  a subscriber never runs inside `publish`, and two buses that answer each other leave room for I/O. */
export class InProcessCarrier implements Carrier, HubPeer {
  onConnectionChange: ((connected: boolean) => void) | null = null;
  readonly frameBytesMax: number;
  readonly #star: HubStar;
  readonly #onClose: (carrier: InProcessCarrier) => void;
  readonly #listeners = new SubjectTable<OnFrame>();
  #queue: Arrived[] = [];
  #queuedBytes = 0;
  #scheduled = false;
  #closed = false;

  constructor(star: HubStar, frameBytesMax: number, onClose: (carrier: InProcessCarrier) => void) {
    this.#star = star;
    this.frameBytesMax = frameBytesMax;
    this.#onClose = onClose;
  }

  get connected(): boolean {
    return !this.#closed;
  }

  publish(subject: string, frame: Uint8Array, replyTo?: string): boolean {
    if (this.#closed) return false;
    if (!this.#star.publish(subject, frame) && replyTo !== undefined) this.#enqueue({ subject: replyTo, frame: null });
    return true;
  }

  deliver(_wire: readonly Uint8Array[], subject: string, payload: Uint8Array): void {
    // A process that sends itself this much in one turn loses the rest, which its subscriptions see as a gap.
    if (this.#queuedBytes + payload.byteLength > QUEUED_BYTES_MAX) return;
    this.#queuedBytes += payload.byteLength;
    this.#enqueue({ subject, frame: payload });
  }

  subscribe(pattern: string, onFrame: OnFrame): () => void {
    this.#listeners.add(pattern, onFrame);
    this.#star.subscribe(pattern, this);
    return () => {
      if (this.#listeners.delete(pattern, onFrame)) this.#star.unsubscribe(pattern, this);
    };
  }

  async flush(): Promise<void> {
    if (this.#closed) throw new MessageBusError('ERR_DISCONNECTED', 'the hub is closed');
    // Two turns: what sockets hold for the hub is read in the first and handed over in the second.
    for (let turn = 0; turn < 2; turn++) {
      const { promise, resolve } = Promise.withResolvers<void>();
      setImmediate(resolve);
      await promise;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#star.remove(this, this.#listeners.patterns());
    this.#listeners.clear();
    this.#queue = [];
    this.#onClose(this);
  }

  /** The hub goes away under this bus, for good: it lives in the same process. */
  async closeByHub(): Promise<void> {
    await this.close();
    this.onConnectionChange?.(false);
  }

  #enqueue(arrived: Arrived): void {
    this.#queue.push(arrived);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#handOver());
  }

  #handOver(): void {
    this.#scheduled = false;
    const arrived = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const { subject, frame } of arrived) {
      for (const onFrame of this.#listeners.match(subject)) onFrame(subject, frame);
    }
  }
}
