import { SkeinError } from '@skein/protocol';

/** The method threw; `code`, message and details are those of the error over there. */
export class RemoteError extends SkeinError {}

/** The actor's process is gone for good: a pending or later call can have no answer. */
export class ActorDiedError extends SkeinError {}

/** The actor cannot be reached now; whether it lives is not known. */
export class ActorUnavailableError extends SkeinError {}

/** The call could not be made or was given up: arguments or a result are not what the class declares, a method was called
 *  directly, the mailbox is full, the caller cancelled, or the bus refused the message. */
export class ActorCallError extends SkeinError {}
