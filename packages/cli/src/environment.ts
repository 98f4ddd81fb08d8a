import { type VariableKey, variables } from '@skein/telemetry';

/** The process's environment, read here and nowhere else. */
export const environment: Readonly<Record<string, string | undefined>> = process.env;

/** Null when it is unset or empty. */
export function variable(key: VariableKey): string | null {
  const value = environment[variables[key].name];
  return value === undefined || value === '' ? null : value;
}
