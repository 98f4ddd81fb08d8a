const TICK_MS = 250;

/** Notices that somebody has said nothing for too long. Time counts only while this process runs: after it was itself
 *  stopped, or kept from a core, what was said meanwhile is still to be read. */
export class Silence {
  readonly #timer: NodeJS.Timeout;
  #maxMs: number;
  #silentMs = 0;

  /** `onTooLong` is called once. */
  constructor(maxMs: number, onTooLong: (silentMs: number) => void) {
    this.#maxMs = maxMs;
    this.#timer = setInterval(() => {
      this.#silentMs += TICK_MS;
      if (this.#silentMs < this.#maxMs) return;
      this.close();
      onTooLong(this.#silentMs);
    }, TICK_MS);
    this.#timer.unref();
  }

  /** It spoke, and has `maxMs` until it must speak again. */
  broken(maxMs: number): void {
    this.#maxMs = maxMs;
    this.#silentMs = 0;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
