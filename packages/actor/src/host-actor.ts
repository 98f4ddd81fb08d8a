import type { MessageBus } from '@skein/message-bus';
import type { ActorClass, ActorImplementation, Methods } from './actor-class.ts';
import { checkArgument, checkResult } from './actor-handle.ts';
import { actorKey } from './actor-wire.ts';
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

/** Hosts an actor at `subject`. Calls run one after another in arrival order; streams run beside them, since a reader that
 *  stands still would hold up everyone else. */
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
  const served = Object.entries(actor.methods).map(([name, definition]) => {
    const at = `${subject}.${name}`;
    const what = `${actor.name}.${name}`;
    const start = (data: unknown, signal: AbortSignal): unknown =>
      implementation[name as keyof M](checkArgument(definition.input, data, what), signal);
    if (definition.kind === 'stream') {
      return bus.serveStream(at, async function* items({ data }, signal) {
        for await (const item of start(data, signal) as AsyncIterable<unknown>)
          yield checkResult(definition.item, item, what);
      });
    }
    return bus.serve(at, async ({ data }, signal) => {
      const run = async (): Promise<unknown> => {
        signal.throwIfAborted();
        return checkResult(definition.output, await start(data, signal), what);
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
    });
  });
  const lease = bus.announce(actorKey(subject), { actor: actor.name }, { ttlMs: LEASE_TTL_MS });
  return {
    close: () => {
      // First, so that whoever finds nobody there knows already that the actor is gone.
      lease.close();
      for (const subscription of served) subscription.close();
    },
  };
}
