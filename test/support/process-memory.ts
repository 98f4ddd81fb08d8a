import { readFileSync } from 'node:fs';

/** A process's pages, and its share of those that it shares. Null for one that has ended. */
export function pssBytes(pid: number): number | null {
  try {
    const kib = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  } catch {
    return null;
  }
}
