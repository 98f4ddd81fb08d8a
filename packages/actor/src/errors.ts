import { SkeinError } from '@skein/protocol';

/** The method threw; `code`, message and details are those of the error over there. */
export class RemoteError extends SkeinError {}

/** The actor's process is gone for good: a pending or later call can have no answer. */
export class ActorDiedError extends SkeinError {}

/** The actor cannot be reached now; whether it lives is not known. */
export class ActorUnavailableError extends SkeinError {}

/** Arguments or a result are not what the class declares, or a method was called directly. */
export class ActorCallError extends SkeinError {}
