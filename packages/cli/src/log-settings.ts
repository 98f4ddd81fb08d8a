import { type LogFormat, logFormats, type LogLevel, logLevels } from '@skein/telemetry';
import { choiceVariable } from './environment.ts';

/** The flag's, else the variable's, else info. @throws ConfigError ERR_VARIABLE. */
export function logLevel(flags: { readonly logLevel?: LogLevel }): LogLevel {
  return flags.logLevel ?? choiceVariable('logLevel', logLevels) ?? 'info';
}

/** What SKEIN_LOG_FORMAT says, else text for a terminal and JSON for anything else. @throws ConfigError ERR_VARIABLE. */
export function logFormat(): LogFormat {
  return choiceVariable('logFormat', logFormats) ?? terminalFormat();
}

/** For what must be said before anything was read. */
export function terminalFormat(): LogFormat {
  return process.stderr.isTTY ? 'text' : 'json';
}
