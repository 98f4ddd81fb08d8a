import type { ServerResponse } from 'node:http';

/** Server-sent events onto a response. `write` resolves when the client has taken enough, so memory stays within one
 *  socket buffer however slowly it reads. */
export class SseWriter {
  readonly #response: ServerResponse;
  readonly #signal: AbortSignal;

  constructor(response: ServerResponse, signal: AbortSignal) {
    this.#response = response;
    this.#signal = signal;
  }

  get started(): boolean {
    return this.#response.headersSent;
  }

  /** Sends status and headers; from here on errors travel as events. */
  start(): void {
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // nginx buffers whole answers otherwise.
      'x-accel-buffering': 'no',
    });
  }

  /** One event with `json` as its data. Rejects with the abort reason when the client is gone. */
  write(json: string): Promise<void> | undefined {
    this.#signal.throwIfAborted();
    return this.#response.write(`data: ${json}\n\n`) ? undefined : this.#drained();
  }

  done(): void {
    this.#response.end('data: [DONE]\n\n');
  }

  async #drained(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(this.#signal.reason as Error);
    this.#response.once('drain', resolve);
    this.#signal.addEventListener('abort', onAbort, { once: true });
    try {
      await promise;
    } finally {
      this.#response.off('drain', resolve);
      this.#signal.removeEventListener('abort', onAbort);
    }
  }
}
