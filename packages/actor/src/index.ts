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
export { ActorNode, type ActorNodeOptions } from './actor-node.ts';
export { ActorProcess, type ActorProcessOptions } from './actor-process.ts';
export { watchActor } from './actor-watch.ts';
export { actorSubject } from './actor-wire.ts';
export {
  ActorCallError,
  type ActorDeath,
  ActorDiedError,
  ActorUnavailableError,
  PlacementError,
  RemoteError,
} from './errors.ts';
export { type HostedActor, hostActor, type HostOptions } from './host-actor.ts';
export { getActor, kill } from './named-actor.ts';
export { ObjectRef } from './object-ref.ts';
export type { PlacementStrategy } from './place-bundles.ts';
export { type PlacedActorOptions, PlacementGroup, type PlacementGroupOptions } from './placement-group.ts';
export type { CallOptions } from './remote-actor.ts';
export type { Resources } from './resources.ts';
export { runActor } from './run-actor.ts';
