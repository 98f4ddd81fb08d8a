import { actorClass, method } from '@skein/actor';
import { z } from 'zod';

/** What callers know of a counter; `counter-process.ts` is one. */
export const Counter = actorClass('Counter', {
  add: method(z.object({ amount: z.int() }), z.int()),
});

export const COUNTER = 'examples.counter';
