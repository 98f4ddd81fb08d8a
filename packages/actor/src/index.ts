export {
  type ActorClass,
  actorClass,
  type ActorImplementation,
  method,
  type MethodDefinition,
  type Methods,
} from './actor-class.ts';
export { type ActorDeath, type ActorHandle, type CallOptions, type RemoteMethod, watchActor } from './actor-handle.ts';
export { ActorProcess, type ActorProcessOptions, runActorProcess } from './actor-process.ts';
export { ActorCallError, ActorDiedError, ActorUnavailableError, RemoteError } from './errors.ts';
export { type HostedActor, hostActor, type HostOptions } from './host-actor.ts';
export { ObjectRef } from './object-ref.ts';
