import type { Socket } from 'node:net';
import { offerProof } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import { dial } from '../network/dial.ts';
import { LENGTH_BYTES, PROBE_PURPOSE } from './probe-wire.ts';

export interface ProbeTarget {
  readonly address: string;
  readonly port: number;
  /** The chosen interface's, as ranks have it. */
  readonly localAddress: string;
  readonly identity: Identity;
  readonly groupKey: string | null;
}

/** The dialling end of a probe. */
export class ProbeConnection implements Disposable {
  readonly #socket: Socket;
  /** Resolved in turn, one for each message. */
  readonly #waiting: ((arrived: boolean) => void)[] = [];
  #answerBytes = 0;
  #broken = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const onEnd = (): void => {
      this.#broken = true;
      for (const done of this.#waiting.splice(0)) done(false);
    };
    socket.on('close', onEnd);
    socket.on('data', (chunk: Buffer) => {
      this.#answerBytes += chunk.byteLength;
      for (; this.#answerBytes >= LENGTH_BYTES; this.#answerBytes -= LENGTH_BYTES) this.#waiting.shift()?.(true);
    });
    socket.resume();
  }

  /** @returns the connection, or how the dial failed: see `dial`. @throws when the other end is not one of ours. */
  static async open(
    target: ProbeTarget,
    deadlineMs: number,
  ): Promise<{ readonly connection: ProbeConnection } | { readonly failure: string }> {
    const endsAtMs = performance.now() + deadlineMs;
    const dialled = await dial(target, deadlineMs);
    if ('failure' in dialled) return dialled;
    const { socket } = dialled;
    const signal = AbortSignal.timeout(Math.max(1, Math.ceil(endsAtMs - performance.now())));
    const { identity, groupKey } = target;
    try {
      await offerProof(socket, { identity, groupKey, purpose: PROBE_PURPOSE, signal });
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return { connection: new ProbeConnection(socket) };
  }

  /** Sends one message of `bytes` in all, in one write. @returns whether the other end got it within the deadline. */
  async send(bytes: number, deadlineMs: number): Promise<boolean> {
    if (this.#broken) return false;
    const message = Buffer.alloc(Math.max(bytes, LENGTH_BYTES));
    message.writeUInt32BE(message.byteLength - LENGTH_BYTES, 0);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#waiting.push(resolve);
    this.#socket.write(message);
    // One that comes late still takes its turn.
    const timer = setTimeout(() => resolve(false), deadlineMs);
    const arrived = await promise;
    clearTimeout(timer);
    return arrived;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
