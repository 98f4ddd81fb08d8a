type Step<T> = { readonly stream: AsyncIterator<T>; readonly result: IteratorResult<T> } | { readonly error: Error };

/** Interleaves streams as their values come. Each is asked for its next value only after its last one was taken, so at most
 *  one value per stream waits here. The first error ends all; leaving the loop ends all. */
export async function* mergeStreams<T>(streams: readonly AsyncIterable<T>[]): AsyncGenerator<T, void, undefined> {
  const [only] = streams;
  if (streams.length === 1 && only !== undefined) {
    yield* only;
    return;
  }
  const iterators = streams.map((stream) => stream[Symbol.asyncIterator]());
  const ready: Step<T>[] = [];
  let wake = (): void => {};
  const put = (step: Step<T>): void => {
    ready.push(step);
    wake();
  };
  const advance = (stream: AsyncIterator<T>): void => {
    stream.next().then(
      (result) => put({ stream, result }),
      (error: Error) => put({ error }),
    );
  };
  let running = iterators.length;
  const open = new Set(iterators);
  try {
    for (const iterator of iterators) advance(iterator);
    while (running > 0) {
      const step = ready.shift();
      if (step === undefined) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        await promise;
      } else if ('error' in step) {
        throw step.error;
      } else if (step.result.done === true) {
        running -= 1;
        open.delete(step.stream);
      } else {
        yield step.result.value;
        advance(step.stream);
      }
    }
  } finally {
    // A generator waiting in next() would hold return() back; the caller's signal is what stops it.
    for (const iterator of open) iterator.return?.()?.then(undefined, () => {});
  }
}
