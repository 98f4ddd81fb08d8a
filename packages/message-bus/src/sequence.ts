import type { Identity } from '@skein/protocol';

/** Senders or subjects remembered at once. Forgetting one costs the detection of one gap, never a false one. */
const REMEMBERED_MAX = 4096;

/** Numbers one sender's messages on each subject, from 1. */
export class SequenceNumbers {
  readonly #last = new Map<string, number>();

  next(subject: string): number {
    return (this.#last.get(subject) ?? 0) + 1;
  }

  used(subject: string, seq: number): void {
    remember(this.#last, subject, seq);
  }
}

/** Follows the numbers that one subscription sees. */
export class GapDetector {
  readonly #last = new Map<string, number>();

  /** @returns how many messages are missing before this one: 0 for a sender's first, whatever its number, and for number
   *  1, with which a sender that forgot the subject starts again; null for one seen before. */
  missingBefore(from: Identity, subject: string, seq: number): number | null {
    const key = `${from.incarnation}/${from.name}/${subject}`;
    const last = this.#last.get(key);
    if (last !== undefined && seq <= last && seq !== 1) return null;
    remember(this.#last, key, seq);
    return last === undefined || seq === 1 ? 0 : seq - last - 1;
  }
}

/** Keeps the most recently used. */
function remember(map: Map<string, number>, key: string, seq: number): void {
  if (map.size >= REMEMBERED_MAX && !map.has(key)) {
    const oldest = map.keys().next();
    if (!oldest.done) map.delete(oldest.value);
  } else if (map.size >= REMEMBERED_MAX / 2) {
    map.delete(key);
  }
  map.set(key, seq);
}
