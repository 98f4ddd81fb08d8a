import { type MessageBus, MessageBusError } from '@skein/message-bus';
import type { z } from 'zod';
import type { ActorClass, Methods } from './actor-class.ts';
import { type ActorHandle, remoteActor } from './actor-handle.ts';
import { actorSubject, ownerAnswerSchema, type ownerRequestSchema, ownerSubject } from './actor-wire.ts';
import { ActorCallError, ActorDiedError, ActorUnavailableError } from './errors.ts';

const OWNER_MS_MAX = 10_000;

/** A handle on the actor of that name, which may be between two incarnations.
 *  @throws ActorCallError ERR_ACTOR_NOT_FOUND, or ERR_ACTOR_CLASS when it is of another class; ActorUnavailableError. */
export async function getActor<M extends Methods>(
  bus: MessageBus,
  actor: ActorClass<M>,
  name: string,
): Promise<ActorHandle<M>> {
  const subject = actorSubject(name);
  const className = await askOwner(bus, subject, 'describe');
  if (className === null) throw new ActorCallError('ERR_ACTOR_NOT_FOUND', `no actor is named ${name}`);
  if (className !== actor.name)
    throw new ActorCallError('ERR_ACTOR_CLASS', `the actor ${name} is a ${className}, not a ${actor.name}`);
  return actor.handle(bus, subject);
}

/** Ends the actor of a handle for good, wherever it is, even when it hangs. Resolves when its process is gone.
 *  @throws ActorDiedError when no process owns it, ActorUnavailableError. */
export async function kill(handle: {
  readonly [remoteActor]: ActorHandle<Methods>[typeof remoteActor];
}): Promise<void> {
  const { bus, subject } = handle[remoteActor];
  if ((await askOwner(bus, subject, 'kill')) === null)
    throw new ActorDiedError('ERR_ACTOR_DIED', `${subject}: no process owns this actor`, { details: { subject } });
}

/** @returns the name of the actor's class; null when nobody owns an actor at `subject`. */
export async function askOwner(
  bus: MessageBus,
  subject: string,
  request: z.infer<typeof ownerRequestSchema>,
): Promise<string | null> {
  try {
    const answer = await bus.request(ownerSubject(subject), request, { deadlineMs: OWNER_MS_MAX });
    return ownerAnswerSchema.parse(answer).actor;
  } catch (error) {
    if (!(error instanceof MessageBusError)) throw error;
    if (error.code === 'ERR_NO_RESPONDER') return null;
    const message = `the owner of ${subject} does not answer: ${error.message}`;
    throw new ActorUnavailableError('ERR_ACTOR_UNAVAILABLE', message, { cause: error });
  }
}
