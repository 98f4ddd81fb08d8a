/** The process that holds a count. */
import { runActor } from '@skein/actor';
import { Counter } from './counter.ts';

let count = 0;
runActor(Counter, () => ({
  add: async ({ amount }) => (count += amount),
  upTo: async function* upTo({ end }) {
    for (let value = 1; value <= end; value++) yield value;
  },
}));
