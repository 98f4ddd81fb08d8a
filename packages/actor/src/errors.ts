import { type Identity, SkeinError } from '@skein/protocol';

/** The method threw; `code`, message and details are those of the error over there. */
export class RemoteError extends SkeinError {}

/** The actor's process is gone: a pending call can have no answer, and whether it was carried out is not known. `details` has
 *  the name and incarnation of what died, and the cause. A later call may find the next incarnation. */
export class ActorDiedError extends SkeinError {}

/** The actor cannot be reached now; whether it lives is not known. */
export class ActorUnavailableError extends SkeinError {}

/** The call could not be made or was given up: arguments or a result are not what the class declares, a method was called
 *  directly, the mailbox is full, the caller cancelled, no actor has that name, or the bus refused the message. */
export class ActorCallError extends SkeinError {}

/** Bundles find no nodes, or an actor no room in its bundle. */
export class PlacementError extends SkeinError {}

/** The end of one incarnation of an actor. */
export interface ActorDeath {
  readonly identity: Identity;
  /** What its owner saw of its process, or how its lease ended. */
  readonly cause: string;
  /** Whether its owner starts another; null when no owner has told. */
  readonly restarts: boolean | null;
}

export function actorDied(subject: string, { identity: { name, incarnation }, cause }: ActorDeath): ActorDiedError {
  return new ActorDiedError('ERR_ACTOR_DIED', `the actor ${subject} (${name}, incarnation ${incarnation}) ${cause}`, {
    details: { subject, name, incarnation, cause },
  });
}
