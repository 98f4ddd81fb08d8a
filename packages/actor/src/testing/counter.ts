import { SkeinError } from '@skein/protocol';
import { z } from 'zod';
import { actorClass, type ActorImplementation, method } from '../actor-class.ts';

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
  pid: method(z.object({}), z.int()),
});

export class CounterState implements ActorImplementation<typeof Counter.methods> {
  readonly added: number[] = [];
  cancelled = 0;
  #gate = Promise.withResolvers<void>();

  add = async ({ amount }: { amount: number }): Promise<number> => {
    this.added.push(amount);
    return this.added.reduce((sum, n) => sum + n, 0);
  };

  addLater = async (argument: { amount: number }): Promise<number> => {
    await this.#gate.promise;
    return this.add(argument);
  };

  open = async (): Promise<null> => {
    this.#gate.resolve();
    return null;
  };

  fail = async ({ code, left }: { code: string; left: number }): Promise<null> => {
    throw new SkeinError(code, `${left} left`, { details: { left } });
  };

  misanswer = async (): Promise<number> => 'no number' as unknown as number;

  forever = async (_argument: object, signal: AbortSignal): Promise<null> => {
    const { promise, reject } = Promise.withResolvers<null>();
    signal.addEventListener('abort', () => {
      this.cancelled += 1;
      reject(signal.reason as Error);
    });
    return promise;
  };

  pid = async (): Promise<number> => process.pid;
}
