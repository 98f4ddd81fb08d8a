import { readFileSync } from 'node:fs';

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

/** Null for a process that has ended. */
function pssBytes(pid: number): number | null {
  try {
    const kib = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  } catch {
    return null;
  }
}
