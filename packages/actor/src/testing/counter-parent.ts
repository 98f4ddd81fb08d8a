// Owns a Counter in a process of its own, says its pid, and waits to be killed.
import { type BusTarget, connectBus } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { ActorProcess } from '../actor-process.ts';
import { Counter } from './counter.ts';

process.once('message', (target: BusTarget) => void own(target));

async function own(join: BusTarget): Promise<void> {
  const bus = await connectBus(join, { identity: newIdentity('owner'), deadlineMs: 5000 });
  const module = new URL('counter-process.ts', import.meta.url);
  const child = await ActorProcess.start(Counter, { name: 'bound', module, bus, join });
  process.send?.(child.pid);
}
