/** A counter in a process of its own: called, killed, and its death noticed. Usage: node examples/actors/main.ts */
import { fileURLToPath } from 'node:url';
import { ActorProcess } from '@skein/actor';
import { startLocalHub } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { Counter, COUNTER } from './counter.ts';

await using hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey: null });
if (!hub.address || !('port' in hub.address)) throw new Error('the hub has no port');
await using bus = hub.connect(newIdentity('main'));

const died = Promise.withResolvers<string>();
await using child = new ActorProcess(fileURLToPath(new URL('counter-process.ts', import.meta.url)), {
  name: 'counter',
  bus: { hub: hub.address },
  groupKey: null,
  onDeath: died.resolve,
});
await child.ready;

const counter = Counter.handle(bus, COUNTER);
console.log('add 2:', await counter.add.remote({ amount: 2 }));
console.log('add 40:', await counter.add.remote({ amount: 40 }));

child.kill('SIGKILL');
console.log('the counter', await died.promise);
