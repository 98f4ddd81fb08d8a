// Hosts a Counter in a process that a test can stop and kill. Its argument is the count to start from; a negative one is refused.
import { z } from 'zod';
import { runActor } from '../run-actor.ts';
import { Counter, CounterState } from './counter.ts';

runActor(Counter, (argument) => new CounterState(z.int().min(0).nullable().parse(argument) ?? 0), {
  concurrent: ['pid'],
});
