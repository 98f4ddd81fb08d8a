import { z } from 'zod';

/** One thing a doctor looked at. */
export const checkSchema = z.object({
  name: z.string().max(50),
  /** `warn`: it works, with less than there could be. */
  level: z.enum(['ok', 'warn', 'fail']),
  value: z.string().max(10_000),
  /** What to do about it; null where nothing is to be done, or the value says so. */
  remedy: z.string().max(10_000).nullable(),
});
export type Check = z.infer<typeof checkSchema>;

export function ok(name: string, value: string): Check {
  return { name, level: 'ok', value, remedy: null };
}

export function warn(name: string, value: string, remedy: string | null): Check {
  return { name, level: 'warn', value, remedy };
}

export function fail(name: string, value: string, remedy: string | null): Check {
  return { name, level: 'fail', value, remedy };
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
