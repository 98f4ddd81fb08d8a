import type { Logger } from '@skein/telemetry';

/** Says every 5 s what is being waited for, for how long, and why it has not come. */
export class Waiting implements Disposable {
  #detail = '';
  readonly #timer: NodeJS.Timeout;

  constructor(logger: Logger, what: string) {
    const startMs = performance.now();
    this.#timer = setInterval(() => {
      const seconds = Math.round((performance.now() - startMs) / 1000);
      logger.info(`waiting for ${what} since ${seconds} s${this.#detail === '' ? '' : `: ${this.#detail}`}`);
    }, 5000);
  }

  set detail(text: string) {
    this.#detail = text;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
