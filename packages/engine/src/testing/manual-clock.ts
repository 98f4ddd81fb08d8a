import type { Clock } from '../clock.ts';

/** Time that only the test moves. */
export function manualClock(): Clock & { advance(ms: number): void } {
  let nowMs = 0;
  let timers: { atMs: number; fn: () => void }[] = [];
  return {
    now: () => nowMs,
    after: (ms, fn) => {
      const timer = { atMs: nowMs + ms, fn };
      timers.push(timer);
      return () => {
        timers = timers.filter((t) => t !== timer);
      };
    },
    advance: (ms) => {
      nowMs += ms;
      const due = timers.filter((t) => t.atMs <= nowMs);
      timers = timers.filter((t) => t.atMs > nowMs);
      for (const timer of due) timer.fn();
    },
  };
}
