export interface StopStringsOptions {
  readonly stops: readonly string[];
  /** Leaves the stop string in the text. */
  readonly include: boolean;
}

/** Ends a text at the earliest stop string and never lets the beginning of one out: what may still become a stop string is
 *  held back until it cannot, or until the end. The result does not depend on how the text was cut into pieces. */
export class StopStrings {
  readonly #stops: readonly string[];
  readonly #include: boolean;
  readonly #longest: number;
  #held = '';
  #matched: string | null = null;

  constructor(options: StopStringsOptions) {
    this.#stops = options.stops;
    this.#include = options.include;
    this.#longest = Math.max(0, ...options.stops.map((stop) => stop.length));
  }

  /** The stop string that ended the text; null while none has. */
  get matched(): string | null {
    return this.#matched;
  }

  /** @returns what may be shown now. Empty once a stop string has matched. */
  add(piece: string): string {
    if (this.#matched !== null) return '';
    if (this.#stops.length === 0) return piece;
    const text = this.#held + piece;
    const match = this.#firstMatch(text);
    if (match !== null) {
      this.#matched = match.stop;
      this.#held = '';
      return text.slice(0, match.at + (this.#include ? match.stop.length : 0));
    }
    const safe = text.length - this.#heldBack(text);
    this.#held = text.slice(safe);
    return text.slice(0, safe);
  }

  /** @returns what was held back; the text ends here. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  // The match that is complete first in the text wins, so that the pieces' borders cannot matter; of two that end together, the longer.
  #firstMatch(text: string): { readonly stop: string; readonly at: number } | null {
    let best: { stop: string; at: number } | null = null;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at < 0) continue;
      const end = at + stop.length;
      const bestEnd = best === null ? Infinity : best.at + best.stop.length;
      if (end < bestEnd || (end === bestEnd && best !== null && at < best.at)) best = { stop, at };
    }
    return best;
  }

  #heldBack(text: string): number {
    for (let length = Math.min(this.#longest - 1, text.length); length > 0; length--) {
      const tail = text.slice(text.length - length);
      if (this.#stops.some((stop) => stop.length > length && stop.startsWith(tail))) return length;
    }
    return 0;
  }
}
