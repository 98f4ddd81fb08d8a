// Hosts a Counter at `test.counter`, in a process that a test can stop and kill.
import { runActorProcess } from '../actor-process.ts';
import { hostActor } from '../host-actor.ts';
import { Counter, CounterState } from './counter.ts';

await runActorProcess((bus) => hostActor(bus, 'test.counter', Counter, new CounterState()));
