/** Every NATS subject skein uses, in one place. A token is [A-Za-z0-9_-]+; `token()` makes one of any name. */
export const subjects = {
  rankActor: (group: string, rankIndex: number): string => `skein.${token(group)}.rank.${rankIndex}`,
  /** Of one data-parallel replica. */
  plans: (group: string, replica: number): string => `skein.${token(group)}.plans.${replica}`,
  results: (group: string, replica: number): string => `skein.${token(group)}.results.${replica}`,
  kvEvents: (group: string, replica: number): string => `skein.${token(group)}.kv-events.${replica}`,
  preflight: (group: string, worker: number): string => `skein.${token(group)}.preflight.${worker}`,
  /** Lease keys. */
  ranks: (group: string): string => `group.${token(group)}.rank`,
  agents: (group: string): string => `group.${token(group)}.agent`,
  doctors: (group: string): string => `group.${token(group)}.doctor`,
  leaders: (): string => 'leader',
} as const;

export function token(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_-]/g, '_');
}
