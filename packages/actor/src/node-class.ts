import { z } from 'zod';
import { actorClass, method } from './actor-class.ts';
import { actorNameSchema } from './actor-wire.ts';
import { resourcesSchema } from './resources.ts';

/** How a placement group deals with a node: itself an actor. */
export const NodeActor = actorClass('ActorNode', {
  /** All of them or none, for as long as the lease of the group lives. */
  reserve: method(
    z.object({
      group: z.uuid(),
      bundles: z.array(z.object({ index: z.int().min(0), resources: resourcesSchema })).max(1000),
    }),
    z.null(),
  ),
  /** Answers when the actor can be called. */
  create: method(
    z.object({
      group: z.uuid(),
      bundleIndex: z.int().min(0),
      resources: resourcesSchema,
      actor: z.string().max(200),
      name: actorNameSchema,
      argument: z.unknown(),
      maxRestarts: z.int().min(0),
    }),
    z.null(),
  ),
});

/** What a node announces under `NODES` and its incarnation. */
export const nodeAdvertSchema = z.object({ free: z.object({ cpu: z.int(), device: z.int() }) });
export type NodeAdvert = z.infer<typeof nodeAdvertSchema>;

/** Prefix of the lease keys of nodes. */
export const NODES = 'actor-node';
export const LEASE_TTL_MS = 3000;

export const nodeSubject = (incarnation: string): string => `skein.actor-node.${incarnation}`;

/** Lease key of a group, held by whoever made it. */
export const groupKey = (group: string): string => `placement-group.${group}`;
