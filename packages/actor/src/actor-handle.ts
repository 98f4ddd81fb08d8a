import { type MessageBus, MessageBusError } from '@skein/message-bus';
import { SkeinError } from '@skein/protocol';
import type { z } from 'zod';
import type { ActorClass, Methods } from './actor-class.ts';
import { actorKey } from './actor-key.ts';
import { ActorCallError, ActorDiedError, ActorUnavailableError, RemoteError } from './errors.ts';
import { ObjectRef } from './object-ref.ts';

const DEADLINE_MS = 30_000;

export interface CallOptions {
  /** How long the answer may take. Default 30 s. */
  readonly deadlineMs?: number;
}

/** One method of a handle. Calling it directly is a mistake, as in Ray; `.remote()` calls the actor. */
export interface RemoteMethod<Input, Output> {
  remote(argument: Input): ObjectRef<Output>;
  options(options: CallOptions): { remote(argument: Input): ObjectRef<Output> };
}

export type ActorHandle<M extends Methods> = {
  readonly [K in keyof M]: RemoteMethod<z.input<M[K]['input']>, z.output<M[K]['output']>>;
};

export function makeHandle<M extends Methods>(actor: ActorClass<M>, bus: MessageBus, subject: string): ActorHandle<M> {
  const methods = Object.entries(actor.methods).map(([name, { input, output }]) => {
    const call = (options: CallOptions) => ({
      remote: (argument: unknown) =>
        new ObjectRef(async (signal) => {
          const parsed = input.safeParse(argument);
          if (!parsed.success)
            throw new ActorCallError('ERR_ACTOR_CALL', `${actor.name}.${name}: ${parsed.error.message}`);
          const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
          const answer = await bus
            .request(`${subject}.${name}`, parsed.data, { deadlineMs, signal })
            .catch((error: unknown) => {
              throw callError(error, `${actor.name}.${name}`);
            });
          const result = output.safeParse(answer);
          if (!result.success)
            throw new ActorCallError(
              'ERR_ACTOR_RESULT',
              `${actor.name}.${name} answered what its class does not declare: ${result.error.message}`,
            );
          return result.data;
        }),
    });
    const direct = (): never => {
      throw new ActorCallError('ERR_ACTOR_CALL', `${actor.name}.${name}() runs elsewhere: call ${name}.remote()`);
    };
    return [name, Object.assign(direct, { ...call({}), options: call })] as const;
  });
  return Object.fromEntries(methods) as unknown as ActorHandle<M>;
}

export interface ActorDeath {
  /** `left`: its host closed it; `expired`: not heard of; `replaced`: a new process hosts it. */
  readonly reason: 'left' | 'expired' | 'replaced';
}

/** Calls `onDeath` when the process that hosts the actor is gone. @returns what stops the watch. */
export function watchActor(bus: MessageBus, subject: string, onDeath: (death: ActorDeath) => void): () => void {
  const key = actorKey(subject);
  const watch = bus.watch(key, (event) => {
    if (event.type === 'lost' && event.member.key === key) onDeath({ reason: event.reason });
  });
  return () => watch.close();
}

/** What the bus says of a call, in an actor's terms. Only the bus's own errors speak of the actor: one with the same code that
 *  the method threw is about something else. */
function callError(error: unknown, what: string): Error {
  if (!(error instanceof SkeinError))
    return error instanceof Error ? error : new RemoteError('ERR_INTERNAL', String(error));
  const { code, message, details } = error;
  if (!(error instanceof MessageBusError)) return new RemoteError(code, message, { cause: error, details });
  switch (error.code) {
    case 'ERR_NO_RESPONDER':
      return new ActorDiedError('ERR_ACTOR_DIED', `${what}: no process hosts this actor`, { cause: error, details });
    case 'ERR_DEADLINE':
    case 'ERR_DISCONNECTED':
      return new ActorUnavailableError('ERR_ACTOR_UNAVAILABLE', `${what}: ${message}`, { cause: error, details });
    case 'ERR_ABORTED':
      return new ActorCallError('ERR_ACTOR_CANCELLED', `${what} was cancelled by its caller`, {
        cause: error,
        details,
      });
    default:
      return new ActorCallError(code, `${what}: ${message}`, { cause: error, details });
  }
}
