/** One thing a doctor looked at. */
export interface Check {
  readonly name: string;
  /** `warn`: it works, with less than there could be. */
  readonly level: 'ok' | 'warn' | 'fail';
  readonly value: string;
  /** What to do about it; null where nothing is to be done, or the value says so. */
  readonly remedy: string | null;
}

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
