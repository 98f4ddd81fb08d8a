import type { Socket } from 'node:net';
import { QUEUED_BYTES_MAX } from './carrier.ts';

/** Writes of one tick leave in one system call. */
export class CorkedSocket {
  readonly #socket: Socket;
  readonly #queuedBytesMax: number;
  #corked = false;

  constructor(socket: Socket, queuedBytesMax: number = QUEUED_BYTES_MAX) {
    this.#socket = socket;
    this.#queuedBytesMax = queuedBytesMax;
  }

  /** @returns false, having written nothing, when the peer has left too much unread. */
  write(parts: readonly Uint8Array[]): boolean {
    if (this.#socket.writableLength > this.#queuedBytesMax) return false;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    for (const part of parts) this.#socket.write(part);
    return true;
  }
}
