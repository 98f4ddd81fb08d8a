/** A counter in a process of its own: called, streamed from, restarted, found by its name and killed.
 *  Usage: node examples/actors/main.ts */
import { ActorProcess, getActor, kill } from '@skein/actor';
import { startLocalHub } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { Counter } from './counter.ts';

await using hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey: null });
if (!hub.address) throw new Error('the hub has no address');
await using bus = hub.connect(newIdentity('main'));

await using child = await ActorProcess.start(Counter, {
  name: 'counter',
  module: new URL('counter-process.ts', import.meta.url),
  bus,
  join: { hub: hub.address, groupKey: null },
  maxRestarts: 1,
  onDeath: ({ cause, restarts }) => console.log('the counter', cause, restarts ? '- starting another' : '- for good'),
});

console.log('add 2:', await child.handle.add.remote({ amount: 2 }));
console.log('add 40:', await child.handle.add.remote({ amount: 40 }));
for await (const value of child.handle.upTo.remote({ end: 3 })) console.log('count', value);

if (child.pid !== null) process.kill(child.pid, 'SIGKILL');
const counter = await getActor(bus, Counter, 'counter');
console.log('add 1, to the next one:', await counter.add.options({ maxTaskRetries: 3 }).remote({ amount: 1 }));
await kill(counter);
