import { identitySchema } from '@skein/protocol';
import { z } from 'zod';

/** A member not heard of for this long is dead. Death of a process is told much sooner, by its agent. */
export const LEASE_TTL_MS = 3000;
export const RANKS_PER_AGENT_MAX = 64;

/** What an agent announces: who it is, and the rank processes it has now. */
export const agentAdvertSchema = z.object({
  workerIndex: z.int().min(0),
  host: z.string().max(255),
  pid: z.int(),
  /** How its group is laid out by its own flags and variables: `layoutText`. */
  layout: z.string().max(200),
  /** In the order of their numbers; null while no process runs in that place. */
  ranks: z.array(identitySchema.nullable()).max(RANKS_PER_AGENT_MAX),
});
export type AgentAdvert = z.infer<typeof agentAdvertSchema>;
