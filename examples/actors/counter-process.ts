/** The process that holds the count. */
import { hostActor, runActorProcess } from '@skein/actor';
import { Counter, COUNTER } from './counter.ts';

let count = 0;
await runActorProcess((bus) => {
  hostActor(bus, COUNTER, Counter, { add: async ({ amount }) => (count += amount) });
});
