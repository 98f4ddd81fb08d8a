import { ConfigError } from '@skein/agent';
import { type VariableKey, variables } from '@skein/telemetry';

/** The process's environment, read here and nowhere else. */
export const environment: Readonly<Record<string, string | undefined>> = process.env;

/** Null when it is unset or empty. */
export function variable(key: VariableKey): string | null {
  const value = environment[variables[key].name];
  return value === undefined || value === '' ? null : value;
}

/** A variable that takes one of `values`. @throws ConfigError ERR_VARIABLE naming all of them. */
export function choiceVariable<T extends string>(key: VariableKey, values: readonly T[]): T | null {
  const value = variable(key);
  const chosen = values.find((v) => v === value) ?? null;
  if (value !== null && chosen === null)
    throw new ConfigError('ERR_VARIABLE', `${variables[key].name} is "${value}"; choose ${listed(values)}`);
  return chosen;
}

function listed(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}
