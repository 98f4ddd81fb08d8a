import { identitySchema } from '@skein/protocol';
import { z } from 'zod';
import { ActorCallError, type ActorDeath } from './errors.ts';

/** The name of an actor in a process of its own; no two on one bus have the same. */
export const actorNameSchema = z.string().regex(/^[A-Za-z0-9_-]{1,100}$/);

/** Where a named actor is hosted. @throws ActorCallError ERR_ACTOR_NAME. */
export function actorSubject(name: string): string {
  if (!actorNameSchema.safeParse(name).success)
    throw new ActorCallError('ERR_ACTOR_NAME', `an actor's name is 1 to 100 of A-Z a-z 0-9 _ -, not "${name}"`);
  return `skein.actor.${name}`;
}

/** Lease key under which the actor at `subject` is announced. No method's name starts with the underscore of the others. */
export const actorKey = (subject: string): string => `actor.${subject}`;

/** Where the owner of the actor's process tells its deaths. */
export const deathSubject = (subject: string): string => `${subject}._died`;

/** Where the owner of the actor's process answers for it. */
export const ownerSubject = (subject: string): string => `${subject}._owner`;

export const deathSchema: z.ZodType<ActorDeath> = z.object({
  identity: identitySchema,
  cause: z.string().max(4000),
  restarts: z.boolean(),
});

export const ownerRequestSchema = z.enum(['describe', 'kill']);
export const ownerAnswerSchema = z.object({ actor: z.string().max(200) });
