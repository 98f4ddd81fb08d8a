/** Waits for `promise`, or rejects with the signal's reason; leaves nothing behind on the signal. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason as Error);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Resolves when `signal` is aborted. */
export async function untilAbort(signal: AbortSignal): Promise<void> {
  await untilAborted(new Promise<never>(() => {}), signal).catch(() => {});
}
