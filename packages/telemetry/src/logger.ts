import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';
import { type LineSink, RepeatFilter } from './repeat-filter.ts';
import { textLine } from './text-line.ts';

/** What packages log with; `child` adds fields to every line. Prompts and outputs are never logged. */
export type Logger = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'level'> & {
  child(bindings: Readonly<Record<string, unknown>>): Logger;
};

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** 'text' is for people at a terminal. */
export const logFormats = ['json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** On every line: who this process is. */
  readonly bindings?: Readonly<Record<string, unknown>>;
  /** Standard error when absent. Lines end in a newline. */
  readonly sink?: LineSink;
}

/** One logger for a process; hand children of it to the parts. Writes are synchronous, so the last line before a crash is there. */
export function createLogger(options: LoggerOptions): Logger {
  const sink = options.sink ?? pino.destination({ dest: 2, sync: true });
  const formatted: LineSink = options.format === 'text' ? { write: (line) => sink.write(textLine(line)) } : sink;
  const destination: DestinationStream = new RepeatFilter(formatted);
  return pino({ level: options.level, base: options.bindings ?? null, redact: secretPaths }, destination);
}

/** For tests and for callers that want none. */
export const silentLogger: Logger = pino({ level: 'silent' });

const secretPaths = ['apiKey', 'groupKey', 'authorization', '*.apiKey', '*.groupKey', '*.authorization'];
