export interface LineSink {
  write(line: string): unknown;
}

/** Passes log lines on, but of a run of equal lines (their time aside) only the first; how many followed is written when the
 *  run ends or has lasted `windowMs`. Judged by the lines' own time, so there is no timer. */
export class RepeatFilter implements LineSink {
  readonly #sink: LineSink;
  readonly #windowMs: number;
  #key = '';
  #line = '';
  #sinceMs = 0;
  #repeats = 0;

  constructor(sink: LineSink, windowMs = 10_000) {
    this.#sink = sink;
    this.#windowMs = windowMs;
  }

  write(line: string): void {
    const time = /"time":(\d+),?/.exec(line);
    const key = time === null ? line : line.replace(time[0], '');
    const timeMs = Number(time?.[1] ?? 0);
    if (key === this.#key && timeMs - this.#sinceMs < this.#windowMs) {
      this.#repeats += 1;
      this.#line = line;
      return;
    }
    this.flush();
    this.#key = key;
    this.#sinceMs = timeMs;
    this.#sink.write(line);
  }

  /** Writes the pending count. Call at exit. */
  flush(): void {
    if (this.#repeats > 0) this.#sink.write(this.#line.replace(/\}\n$/, `,"repeated":${this.#repeats}}\n`));
    this.#repeats = 0;
    this.#key = '';
  }
}
