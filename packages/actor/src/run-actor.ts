import { busTargetSchema, connectBus, type MessageBus } from '@skein/message-bus';
import { identitySchema } from '@skein/protocol';
import { z } from 'zod';
import type { ActorClass, ActorImplementation, Methods } from './actor-class.ts';
import { actorSubject } from './actor-wire.ts';
import { hostActor, type HostOptions } from './host-actor.ts';

const CONNECT_MS_MAX = 10_000;

/** What an actor process is told by its owner, over the IPC channel, where nobody else can read it. */
export const actorOrderSchema = z.object({
  identity: identitySchema,
  bus: busTargetSchema,
  /** The class it is expected to host. */
  actor: z.string(),
  argument: z.unknown(),
});
export type ActorOrder = z.infer<typeof actorOrderSchema>;

export const actorReportSchema = z.union([
  z.object({ hosting: z.literal(true) }),
  z.object({ failed: z.string().max(4000) }),
]);
type ActorReport = z.infer<typeof actorReportSchema>;

/** The main statement of the module of an `ActorProcess`: hosts what `construct` makes of the argument that the actor was
 *  created with, which nobody has checked yet. The process ends with its owner. */
export function runActor<M extends Methods>(
  actor: ActorClass<M>,
  construct: (argument: unknown, bus: MessageBus) => ActorImplementation<M> | Promise<ActorImplementation<M>>,
  options: HostOptions = {},
): void {
  process.once('disconnect', () => process.exit(0));
  process.once('message', (message) => {
    const run = async (): Promise<void> => {
      const { identity, bus: target, actor: expected, argument } = actorOrderSchema.parse(message);
      if (expected !== actor.name) throw new TypeError(`it hosts the class ${actor.name}, and ${expected} is wanted`);
      const bus = await connectBus(target, { identity, deadlineMs: CONNECT_MS_MAX });
      hostActor(bus, actorSubject(identity.name), actor, await construct(argument, bus), options);
      await bus.flush();
      report({ hosting: true }, () => {});
    };
    run().catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      report({ failed: message.slice(0, 4000) }, () => process.exit(1));
    });
  });
}

function report(what: ActorReport, onSent: () => void): void {
  process.send?.(what, undefined, undefined, onSent);
}
