/** Two nodes, a bundle on each, and a counter in each bundle. Usage: node examples/actors/placement.ts */
import { ActorNode, PlacementGroup } from '@skein/actor';
import { startLocalHub } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { Counter } from './counter.ts';

await using hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey: null });
if (!hub.address) throw new Error('the hub has no address');
const join = { hub: hub.address, groupKey: null };
const modules = new Map([[Counter.name, new URL('counter-process.ts', import.meta.url)]]);

// Elsewhere, each would be in a process on its own machine.
await using nodes = new AsyncDisposableStack();
for (const [name, resources] of [
  ['left', { cpu: 2, device: 0 }],
  ['right', { cpu: 2, device: 1 }],
] as const)
  nodes.use(new ActorNode({ bus: hub.connect(newIdentity(name)), join, resources, modules }));

await using bus = hub.connect(newIdentity('main'));
using group = await PlacementGroup.create(bus, {
  bundles: [
    { cpu: 1, device: 0 },
    { cpu: 1, device: 1 },
  ],
  strategy: 'STRICT_SPREAD',
  deadlineMs: 5000,
});
for (const [bundleIndex, node] of group.nodes.entries()) {
  const counter = await group.createActor(Counter, { name: `counter-${bundleIndex}`, bundleIndex });
  console.log(`bundle ${bundleIndex} is on ${node.name}; add 2:`, await counter.add.remote({ amount: 2 }));
}
