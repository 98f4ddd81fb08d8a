export interface StopStringOptions {
  /** Whether the text that is given out ends with the stop string or before it. */
  readonly includeStopString: boolean;
}

export interface StopResult {
  /** Text that may be given out. */
  readonly text: string;
  /** The stop string that was found; then the text is over. */
  readonly stop: string | null;
}

/** Finds the earliest stop string in a growing text, and holds back what might become one. The result depends on the text
 *  alone, however it is cut. Earliest means: the one that is complete first; of those, the one that starts first. */
export class StopStrings {
  readonly #stops: readonly string[];
  readonly #includeStopString: boolean;
  readonly #maxLength: number;
  #held = '';
  #done = false;

  /** Empty stop strings are ignored. */
  constructor(stops: readonly string[], options: StopStringOptions) {
    // Longest first: of two that are complete at once, the longer one starts first.
    this.#stops = stops.filter((s) => s !== '').sort((a, b) => b.length - a.length);
    this.#includeStopString = options.includeStopString;
    this.#maxLength = this.#stops[0]?.length ?? 0;
  }

  add(delta: string): StopResult {
    return this.#take(delta, { looks: true });
  }

  /** Text in which no stop string may end, though one may begin there. @returns what may be given out. */
  pass(delta: string): string {
    return this.#take(delta, { looks: false }).text;
  }

  #take(delta: string, { looks }: { readonly looks: boolean }): StopResult {
    if (this.#done) return { text: '', stop: null };
    const text = this.#held + delta;
    const found = looks ? this.#find(text, this.#held.length) : null;
    if (found) {
      this.#done = true;
      this.#held = '';
      return {
        text: text.slice(0, this.#includeStopString ? found.end : found.end - found.stop.length),
        stop: found.stop,
      };
    }
    const numHeld = this.#numToHold(text);
    this.#held = text.slice(text.length - numHeld);
    return { text: text.slice(0, text.length - numHeld), stop: null };
  }

  /** What was held back, when the text ends without a stop string. */
  end(): string {
    const text = this.#held;
    this.#held = '';
    this.#done = true;
    return text;
  }

  #find(text: string, numSeen: number): { readonly stop: string; readonly end: number } | null {
    if (this.#stops.length === 0) return null;
    for (let end = numSeen + 1; end <= text.length; end++) {
      const stop = this.#stops.find((s) => text.endsWith(s, end));
      if (stop !== undefined) return { stop, end };
    }
    return null;
  }

  /** Length of the longest end of `text` that a stop string starts with. */
  #numToHold(text: string): number {
    for (let n = Math.min(this.#maxLength - 1, text.length); n > 0; n--) {
      const tail = text.slice(text.length - n);
      if (this.#stops.some((s) => s.length > n && s.startsWith(tail))) return n;
    }
    return 0;
  }
}
