import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until `condition` holds; throws with `what` after `deadlineMs`. */
export async function until(what: string, condition: () => boolean, deadlineMs = 10_000): Promise<void> {
  const deadlineAt = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > deadlineAt) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await sleep(5);
  }
}
