import { setTimeout as sleep } from 'node:timers/promises';
import { type Carrier, type OnFrame, RECONNECT_MS_MAX, RECONNECT_MS_MIN } from './carrier.ts';
import { MessageBusError } from './errors.ts';
import { untilAborted } from './until-aborted.ts';
import type { OnWarning } from './warning.ts';
import { WarningGate } from './warning.ts';

/** One connection to a broker or hub, from its handshake to its loss. */
export interface Wire {
  readonly frameBytesMax: number;
  /** @returns false when too many bytes wait to be written. */
  publish(subject: string, frame: Uint8Array, replyTo: string | undefined): boolean;
  subscribe(pattern: string): void;
  unsubscribe(pattern: string): void;
  /** See Carrier. Rejects when the connection is lost. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface WireEvents {
  /** Once for each pattern that matches. */
  onFrame(pattern: string, subject: string, frame: Uint8Array | null): void;
  /** At most once; the wire is of no use after it. */
  onLost(reason: string): void;
}

/** Opens a connection, or throws why it cannot. */
export type Dial = (events: WireEvents) => Promise<Wire>;

export interface ConnectOptions {
  /** Time for the first connection; ERR_DEADLINE after it. */
  readonly deadlineMs: number;
  /** Gives the first connection up; after it, of no effect. */
  readonly signal?: AbortSignal;
  /** Told why there is no connection yet, when the reason changes. */
  readonly onWaiting?: (reason: string) => void;
  readonly onWarning?: OnWarning;
}

/** A carrier over connections that come and go: dials again with growing pauses, and subscribes again. */
export class ReconnectingCarrier implements Carrier {
  onConnectionChange: ((connected: boolean) => void) | null = null;
  readonly #target: string;
  readonly #dial: Dial;
  readonly #warnings: WarningGate;
  readonly #patterns = new Map<string, OnFrame>();
  readonly #closing = new AbortController();
  #wire: Wire | null = null;
  #frameBytesMax = 0;

  private constructor(target: string, dial: Dial, onWarning: OnWarning | undefined) {
    this.#target = target;
    this.#dial = dial;
    this.#warnings = new WarningGate(onWarning);
  }

  /** @throws ERR_DEADLINE with the last reason, ERR_GROUP_KEY at once (another attempt has no other key), and the signal's
   *  reason. */
  static async open(target: string, dial: Dial, options: ConnectOptions): Promise<ReconnectingCarrier> {
    const carrier = new ReconnectingCarrier(target, dial, options.onWarning);
    const { signal = new AbortController().signal } = options;
    const deadlineAt = performance.now() + options.deadlineMs;
    let told = '';
    for (let pauseMs = RECONNECT_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, RECONNECT_MS_MAX)) {
      signal.throwIfAborted();
      try {
        await untilAborted(carrier.#connect(), signal);
        return carrier;
      } catch (error) {
        if (signal.aborted) {
          // A connection that comes after all is closed as it comes.
          await carrier.close();
          throw signal.reason;
        }
        if (error instanceof MessageBusError && error.code === 'ERR_GROUP_KEY') throw error;
        const reason = reasonOf(error);
        if (performance.now() + pauseMs > deadlineAt) {
          throw new MessageBusError(
            'ERR_DEADLINE',
            `no connection to ${target} in ${options.deadlineMs} ms: ${reason}`,
            {
              cause: error,
              details: { target, deadlineMs: options.deadlineMs, reason },
            },
          );
        }
        if (reason !== told) options.onWaiting?.(reason);
        told = reason;
      }
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  get frameBytesMax(): number {
    return this.#frameBytesMax;
  }

  get connected(): boolean {
    return this.#wire !== null;
  }

  publish(subject: string, frame: Uint8Array, replyTo?: string): boolean {
    return this.#wire?.publish(subject, frame, replyTo) ?? false;
  }

  subscribe(pattern: string, onFrame: OnFrame): () => void {
    this.#patterns.set(pattern, onFrame);
    this.#wire?.subscribe(pattern);
    return () => {
      if (this.#patterns.get(pattern) !== onFrame) return;
      this.#patterns.delete(pattern);
      this.#wire?.unsubscribe(pattern);
    };
  }

  async flush(): Promise<void> {
    if (!this.#wire) throw new MessageBusError('ERR_DISCONNECTED', `${this.#target} cannot be reached`);
    await this.#wire.flush();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const wire = this.#wire;
    this.#wire = null;
    await wire?.close();
  }

  async #connect(): Promise<void> {
    const life: { wire: Wire | null; lost: string | null } = { wire: null, lost: null };
    const wire = await this.#dial({
      onFrame: (pattern, subject, frame) => {
        if (life.lost === null) this.#patterns.get(pattern)?.(subject, frame);
      },
      onLost: (reason) => {
        if (life.lost !== null) return;
        life.lost = reason;
        if (life.wire) this.#onLost(life.wire, reason);
      },
    });
    life.wire = wire;
    if (life.lost !== null) throw new MessageBusError('ERR_DISCONNECTED', life.lost);
    if (this.#closing.signal.aborted) {
      await wire.close();
      return;
    }
    this.#wire = wire;
    this.#frameBytesMax = wire.frameBytesMax;
    for (const pattern of this.#patterns.keys()) wire.subscribe(pattern);
    this.onConnectionChange?.(true);
  }

  #onLost(wire: Wire, reason: string): void {
    void wire.close().catch(() => {});
    if (this.#wire !== wire || this.#closing.signal.aborted) return;
    this.#wire = null;
    this.#warnings.warn('ERR_DISCONNECTED', `lost ${this.#target}: ${reason}`, { target: this.#target });
    this.onConnectionChange?.(false);
    void this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#closing;
    for (let pauseMs = RECONNECT_MS_MIN; !signal.aborted; pauseMs = Math.min(pauseMs * 2, RECONNECT_MS_MAX)) {
      // Up to a quarter more, so that the members of a group do not come back all at once.
      await sleep(pauseMs * (1 + Math.random() / 4), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.#connect();
        return;
      } catch (error) {
        const code = error instanceof MessageBusError ? error.code : 'ERR_DISCONNECTED';
        this.#warnings.warn(code, `still no ${this.#target}: ${reasonOf(error)}`, { target: this.#target });
      }
    }
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
