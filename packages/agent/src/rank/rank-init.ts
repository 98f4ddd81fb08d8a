import { z } from 'zod';

/** What an agent tells its rank process at start, over the IPC channel. */
export const rankInitSchema = z.object({
  name: z.string(),
  group: z.string(),
  workerIndex: z.int(),
  rankIndex: z.int(),
  revision: z.string(),
  /** The broker, or for a group without one the leader's hub. */
  bus: z.union([z.object({ natsUrl: z.string() }), z.object({ hub: z.object({ host: z.string(), port: z.int() }) })]),
  groupKey: z.string().nullable(),
  threads: z.int().min(1),
  /** What UCX may use; see the addon's createTransport. */
  network: z.object({ interfaceName: z.string().nullable(), prefersIpv6: z.boolean() }),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
  logFormat: z.enum(['json', 'text']),
});
export type RankProcessInit = z.infer<typeof rankInitSchema>;
