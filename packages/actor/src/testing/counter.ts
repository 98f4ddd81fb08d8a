import { SkeinError } from '@skein/protocol';
import { z } from 'zod';
import { actorClass, type ActorImplementation, method, streamMethod } from '../actor-class.ts';

/** An actor with every way of behaving that the tests look at. */
export const Counter = actorClass('Counter', {
  add: method(z.object({ amount: z.int() }), z.int()),
  /** Waits for `open`, then adds. */
  addLater: method(z.object({ amount: z.int() }), z.int()),
  open: method(z.object({}), z.null()),
  fail: method(z.object({ code: z.string(), left: z.int() }), z.null()),
  misanswer: method(z.object({}), z.int()),
  /** Waits until its caller cancels. */
  forever: method(z.object({}), z.null()),
  /** Never lets its process do anything again. */
  hang: method(z.object({}), z.null()),
  pid: method(z.object({}), z.int()),
  /** Counts up to a number, or for ever. */
  upTo: streamMethod(z.object({ end: z.int().nullable() }), z.int()),
  misstream: streamMethod(z.object({}), z.int()),
});

export class CounterState implements ActorImplementation<typeof Counter.methods> {
  readonly added: number[];
  /** Calls of `forever` so far, and those of them that were cancelled. */
  waiting = 0;
  cancelled = 0;
  produced = 0;
  /** Streams that have ended. */
  ended = 0;
  readonly #gate = Promise.withResolvers<void>();

  constructor(start = 0) {
    this.added = start === 0 ? [] : [start];
  }

  async add({ amount }: { amount: number }): Promise<number> {
    this.added.push(amount);
    return this.added.reduce((sum, n) => sum + n, 0);
  }

  async addLater(argument: { amount: number }): Promise<number> {
    await this.#gate.promise;
    return this.add(argument);
  }

  async open(): Promise<null> {
    this.#gate.resolve();
    return null;
  }

  async fail({ code, left }: { code: string; left: number }): Promise<null> {
    throw new SkeinError(code, `${left} left`, { details: { left } });
  }

  async misanswer(): Promise<number> {
    return 'no number' as unknown as number;
  }

  async forever(_argument: object, signal: AbortSignal): Promise<null> {
    this.waiting += 1;
    const { promise, reject } = Promise.withResolvers<null>();
    signal.addEventListener('abort', () => {
      this.cancelled += 1;
      reject(signal.reason as Error);
    });
    return promise;
  }

  async hang(): Promise<null> {
    for (;;);
  }

  async pid(): Promise<number> {
    return process.pid;
  }

  async *upTo({ end }: { end: number | null }): AsyncGenerator<number> {
    try {
      for (let value = 0; end === null || value < end; value++) {
        this.produced += 1;
        yield value;
      }
    } finally {
      this.ended += 1;
    }
  }

  async *misstream(): AsyncGenerator<number> {
    yield 'no number' as unknown as number;
  }
}
