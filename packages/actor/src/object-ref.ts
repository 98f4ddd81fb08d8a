/** The result of a remote call, to be awaited. It is not run again: a call happens at most once. */
export class ObjectRef<T> implements PromiseLike<T> {
  readonly #result: Promise<T>;
  readonly #abort: AbortController;

  constructor(call: (signal: AbortSignal) => Promise<T>) {
    this.#abort = new AbortController();
    this.#result = call(this.#abort.signal);
    // A reference that nobody awaits is no unhandled rejection: its caller chose not to look.
    this.#result.catch(() => {});
  }

  /** Aborts the method's signal over there; the reference rejects. */
  cancel(): void {
    this.#abort.abort();
  }

  // oxlint-disable-next-line unicorn/no-thenable -- awaiting a reference is how its value is had.
  then<A = T, B = never>(
    onValue?: ((value: T) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onValue, onError);
  }
}
