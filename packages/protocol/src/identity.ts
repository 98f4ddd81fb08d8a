import { randomBytes } from 'node:crypto';
import { z } from 'zod';

/** Who sends a message: a stable name and the incarnation of the process that bears it. A restarted process is a new
 *  incarnation and therefore a new peer. */
export const identitySchema = z.object({
  name: z.string().min(1).max(200),
  incarnation: z.string().regex(/^[0-9a-z]{12}$/),
});

export type Identity = z.infer<typeof identitySchema>;

export function newIdentity(name: string): Identity {
  return { name, incarnation: randomBytes(8).readBigUInt64BE().toString(36).padStart(13, '0').slice(-12) };
}

export function sameIdentity(a: Identity, b: Identity): boolean {
  return a.name === b.name && a.incarnation === b.incarnation;
}
