import { type Engine, greedySampling } from '@skein/engine';

const PERIOD_MS = 1000;
const QUIET_MS = 2500;
const PROGRESS_MS_MAX = 5000;
export const CANARY_CLIENT = 'canary';

/** Proof of progress: while the engine is idle, one token is sent through every stage now and then. */
export class Canary {
  readonly #engine: Engine;
  readonly #timer: NodeJS.Timeout;
  #count = 0;
  #running = false;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#timer = setInterval(() => void this.beat(), PERIOD_MS);
  }

  get running(): boolean {
    return this.#running;
  }

  /** Null when a step finished within 5 s; else what is wrong. */
  problem(): string | null {
    const { state } = this.#engine.stats();
    if (state !== 'serving') return state;
    const { stepsFinished, atMs } = this.#engine.lastProgress;
    if (stepsFinished === 0) return 'no step has finished yet';
    const quietMs = performance.now() - atMs;
    return quietMs <= PROGRESS_MS_MAX ? null : `no step has finished for ${Math.round(quietMs / 1000)} s`;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Sends one token through at once; resolves when it is back. */
  async #prove(signal: AbortSignal): Promise<void> {
    const sampling = { ...greedySampling, maxTokens: 1 };
    const events = this.#engine.generate(
      { requestId: `canary-${this.#count++}`, promptTokenIds: [0], sampling, client: CANARY_CLIENT },
      signal,
    );
    for await (const event of events) if (event.finishReason) return;
  }

  /** Sends a token when nobody else's has passed lately. */
  async beat(): Promise<void> {
    const { stepsFinished, atMs } = this.#engine.lastProgress;
    const { state, numRunning, numWaiting } = this.#engine.stats();
    const isIdle = numRunning + numWaiting === 0;
    if (this.#running || state !== 'serving' || !isIdle || (stepsFinished > 0 && performance.now() - atMs < QUIET_MS))
      return;
    this.#running = true;
    // A canary that cannot finish is what `problem` reports; nothing else to do about it here.
    await this.#prove(AbortSignal.timeout(60_000)).catch(() => {});
    this.#running = false;
  }
}
