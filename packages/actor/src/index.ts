export {
  type ActorClass,
  actorClass,
  type ActorImplementation,
  method,
  type MethodDefinition,
  type Methods,
  streamMethod,
  type StreamMethodDefinition,
} from './actor-class.ts';
export type { ActorHandle, RemoteMethod } from './actor-handle.ts';
export { ActorProcess, type ActorProcessOptions } from './actor-process.ts';
export { watchActor } from './actor-watch.ts';
export { actorSubject } from './actor-wire.ts';
export {
  ActorCallError,
  type ActorDeath,
  ActorDiedError,
  ActorUnavailableError,
  RemoteError,
} from './errors.ts';
export { type HostedActor, hostActor, type HostOptions } from './host-actor.ts';
export { getActor, kill } from './named-actor.ts';
export { ObjectRef } from './object-ref.ts';
export type { CallOptions } from './remote-actor.ts';
export { runActor } from './run-actor.ts';
