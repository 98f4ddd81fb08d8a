import { identitySchema } from '@skein/protocol';
import { z } from 'zod';

/** A member not heard of for this long is dead. Death of a process is told much sooner, by its agent. */
export const LEASE_TTL_MS = 3000;

/** What an agent announces: who it is, and the rank process it has now. */
export const agentAdvertSchema = z.object({
  workerIndex: z.int().min(0),
  host: z.string().max(255),
  pid: z.int(),
  /** Null while no rank process runs. */
  rank: identitySchema.nullable(),
});
export type AgentAdvert = z.infer<typeof agentAdvertSchema>;
