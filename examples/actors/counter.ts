import { actorClass, method, streamMethod } from '@skein/actor';
import { z } from 'zod';

/** What callers know of a counter; `counter-process.ts` is one. */
export const Counter = actorClass('Counter', {
  add: method(z.object({ amount: z.int() }), z.int()),
  upTo: streamMethod(z.object({ end: z.int() }), z.int()),
});
