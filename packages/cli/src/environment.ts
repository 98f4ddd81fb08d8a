import { variables } from '@skein/telemetry';

/** The process's environment, read here and nowhere else. */
export const environment: Readonly<Record<string, string | undefined>> = process.env;

export function variable(key: keyof typeof variables): string | null {
  const value = environment[variables[key].name];
  return value === undefined || value === '' ? null : value;
}
