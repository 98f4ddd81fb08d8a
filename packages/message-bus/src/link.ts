import type { Identity } from '@skein/protocol';
import type { Carrier } from './carrier.ts';
import { decodeEnvelope, ENVELOPE_BYTES_MAX, type Envelope, encodeEnvelope } from './envelope.ts';
import { MessageBusError } from './errors.ts';
import type { BusCounters } from './message-bus.ts';
import { SubjectTable } from './subject.ts';
import { untilAborted } from './until-aborted.ts';
import type { OnWarning } from './warning.ts';
import { WarningGate } from './warning.ts';

/** Handles one decoded frame; null when nobody subscribed to what was sent with this subject as reply address. */
export type OnEnvelope = (envelope: Envelope | null, from: Identity | null, subject: string) => void;

/** What requests, streams and leases share: envelopes over a carrier, with the frames of peers decoded once and checked. */
export class Link {
  readonly identity: Identity;
  readonly carrier: Carrier;
  readonly warnings: WarningGate;
  readonly counters: { -readonly [K in keyof BusCounters]: number } = {
    framesSent: 0,
    framesReceived: 0,
    framesDropped: 0,
    framesMalformed: 0,
    messagesMissing: 0,
    handlersFailed: 0,
  };
  readonly #listeners = new SubjectTable<OnEnvelope>();
  readonly #unsubscribe = new Map<string, () => void>();
  readonly #connectionListeners = new Set<(connected: boolean) => void>();
  #closed = false;

  constructor(identity: Identity, carrier: Carrier, onWarning: OnWarning | undefined) {
    this.identity = identity;
    this.carrier = carrier;
    this.warnings = new WarningGate(onWarning);
    carrier.onConnectionChange = (connected): void => {
      for (const listener of [...this.#connectionListeners]) this.guard('connection', () => listener(connected));
    };
  }

  get dataBytesMax(): number {
    return this.carrier.frameBytesMax - ENVELOPE_BYTES_MAX;
  }

  /** @returns false when the frame was dropped. @throws ERR_NOT_ENCODABLE, ERR_MESSAGE_TOO_LARGE, ERR_CLOSED. */
  send(subject: string, envelope: Envelope, replyTo?: string): boolean {
    this.checkOpen();
    const frame = encodeEnvelope(this.identity, envelope, this.dataBytesMax);
    const sent = this.carrier.publish(subject, frame, replyTo);
    if (sent) this.counters.framesSent += 1;
    else this.counters.framesDropped += 1;
    return sent;
  }

  /** Sends what nobody waits for. False when the bus is closed, or the frame was dropped. */
  tell(subject: string, envelope: Envelope): boolean {
    return !this.#closed && this.send(subject, envelope);
  }

  /** Why `send` returned false. */
  whyDropped(subject: string): MessageBusError {
    return this.carrier.connected
      ? new MessageBusError('ERR_OVERLOADED', `${subject}: the bus does not drain what this process sends`)
      : new MessageBusError('ERR_DISCONNECTED', `${subject}: the bus is disconnected`);
  }

  listen(pattern: string, listener: OnEnvelope): () => void {
    this.checkOpen();
    if (this.#listeners.add(pattern, listener)) {
      this.#unsubscribe.set(
        pattern,
        this.carrier.subscribe(pattern, (subject, frame) => this.#receive(pattern, subject, frame)),
      );
    }
    return () => {
      if (!this.#listeners.delete(pattern, listener)) return;
      this.#unsubscribe.get(pattern)?.();
      this.#unsubscribe.delete(pattern);
    };
  }

  onConnectionChange(listener: (connected: boolean) => void): () => void {
    this.#connectionListeners.add(listener);
    return () => this.#connectionListeners.delete(listener);
  }

  /** Resolves when connected; rejects with the signal's reason. */
  async whenConnected(signal: AbortSignal): Promise<void> {
    if (this.carrier.connected) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = this.onConnectionChange((connected) => connected && resolve());
    try {
      await untilAborted(promise, signal);
    } finally {
      stop();
    }
  }

  /** Runs a caller's listener. What it throws must not reach the socket's read loop, which serves everybody. */
  guard(subject: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.counters.handlersFailed += 1;
      const reason = error instanceof Error ? error.message : String(error);
      this.warnings.warn('ERR_HANDLER', `a listener of ${subject} threw: ${reason}`, { subject });
    }
  }

  checkOpen(): void {
    if (this.#closed) throw new MessageBusError('ERR_CLOSED', 'the bus is closed');
  }

  /** No frame is sent or received from here on. */
  close(): void {
    this.#closed = true;
    for (const unsubscribe of this.#unsubscribe.values()) unsubscribe();
    this.#unsubscribe.clear();
    this.#listeners.clear();
    this.#connectionListeners.clear();
  }

  #receive(pattern: string, subject: string, frame: Uint8Array | null): void {
    this.counters.framesReceived += 1;
    if (frame === null) {
      this.#dispatch(pattern, null, null, subject);
      return;
    }
    let decoded;
    try {
      decoded = decodeEnvelope(frame);
    } catch (error) {
      this.counters.framesMalformed += 1;
      const reason = error instanceof Error ? error.message : 'unknown';
      this.warnings.warn('ERR_MALFORMED', `dropped on ${subject}: ${reason}`, { subject, bytes: frame.byteLength });
      return;
    }
    this.#dispatch(pattern, decoded.envelope, decoded.from, subject);
  }

  #dispatch(pattern: string, envelope: Envelope | null, from: Identity | null, subject: string): void {
    for (const listener of [...this.#listeners.of(pattern)]) {
      this.guard(subject, () => listener(envelope, from, subject));
    }
  }
}
