import type { MessageBus } from '@skein/message-bus';
import type { ActorClass, ActorImplementation, Methods } from './actor-class.ts';
import { actorKey } from './actor-key.ts';
import { ActorCallError } from './errors.ts';

const LEASE_TTL_MS = 3000;

export interface HostOptions {
  /** Calls that may wait; one more is refused. Default 256. */
  readonly mailboxMax?: number;
  /** Methods that answer at once, beside the mailbox: they must only look. */
  readonly concurrent?: readonly string[];
}

export interface HostedActor {
  /** Takes no more calls, and lets watchers know. */
  close(): void;
}

/** Hosts an actor at `subject`. Calls run one after another in arrival order. */
export function hostActor<M extends Methods>(
  bus: MessageBus,
  subject: string,
  actor: ActorClass<M>,
  implementation: ActorImplementation<M>,
  options: HostOptions = {},
): HostedActor {
  const { mailboxMax = 256, concurrent = [] } = options;
  let tail: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  const served = Object.entries(actor.methods).map(([name, { input, output }]) =>
    bus.serve(`${subject}.${name}`, async ({ data }, signal) => {
      const argument = input.safeParse(data);
      if (!argument.success)
        throw new ActorCallError('ERR_ACTOR_CALL', `${actor.name}.${name}: ${argument.error.message}`);
      const run = async (): Promise<unknown> => {
        signal.throwIfAborted();
        const result = output.safeParse(await implementation[name as keyof M](argument.data as never, signal));
        if (!result.success)
          throw new ActorCallError(
            'ERR_ACTOR_RESULT',
            `${actor.name}.${name} returned what its class does not declare: ${result.error.message}`,
          );
        return result.data;
      };
      if (concurrent.includes(name)) return run();
      if (waiting >= mailboxMax)
        throw new ActorCallError(
          'ERR_ACTOR_BUSY',
          `${actor.name} has ${waiting} calls waiting, its mailbox holds no more`,
        );
      waiting += 1;
      const turn = tail.then(run).finally(() => (waiting -= 1));
      tail = turn.catch(() => {});
      return turn;
    }),
  );
  const lease = bus.announce(actorKey(subject), { actor: actor.name }, { ttlMs: LEASE_TTL_MS });
  return {
    close: () => {
      for (const subscription of served) subscription.close();
      lease.close();
    },
  };
}
