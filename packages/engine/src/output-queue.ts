import type { GenerateEvent } from './generate.ts';

/** Carries one request's events from the engine to its one reader. Events the reader has not taken are merged when it comes,
 *  so the queue never outgrows the request's own tokens, and a slow reader holds up nobody. */
export class OutputQueue {
  #pending: GenerateEvent[] = [];
  #error: Error | null = null;
  #wakeReader: (() => void) | null = null;

  push(event: GenerateEvent): void {
    this.#pending.push(event);
    this.#wake();
  }

  /** What was pushed before is still delivered first. */
  fail(error: Error): void {
    this.#error ??= error;
    this.#wake();
  }

  /** The next event; waits for one. @throws the error given to `fail`. */
  async next(): Promise<GenerateEvent> {
    for (;;) {
      const events = this.#pending;
      const last = events.at(-1);
      if (last) {
        this.#pending = [];
        return events.length === 1 ? last : merge(events, last);
      }
      if (this.#error) throw this.#error;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wakeReader = resolve;
      await promise;
    }
  }

  #wake(): void {
    this.#wakeReader?.();
    this.#wakeReader = null;
  }
}

function merge(events: readonly GenerateEvent[], last: GenerateEvent): GenerateEvent {
  return { ...last, tokens: events.flatMap((e) => e.tokens), promptLogprobs: events[0]?.promptLogprobs ?? null };
}
