import { pssBytes } from '../support/process-memory.ts';

const INTERVAL_MS = 20;

/** Watches the memory of processes, as Pss: pages of their own, and their share of those they share. */
export class PeakMemory {
  readonly #pids: () => readonly number[];
  readonly #peaks = new Map<number, number>();
  readonly #timer: NodeJS.Timeout;

  constructor(pids: () => readonly number[]) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#sample(), INTERVAL_MS);
  }

  /** Of the process that took most, until now. */
  peakBytes(): number {
    this.#sample();
    return Math.max(0, ...this.#peaks.values());
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    for (const pid of this.#pids()) {
      const bytes = pssBytes(pid);
      if (bytes !== null) this.#peaks.set(pid, Math.max(bytes, this.#peaks.get(pid) ?? 0));
    }
  }
}
