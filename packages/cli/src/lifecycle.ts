import { SkeinError } from '@skein/protocol';
import { createLogger, type Logger, type LogLevel } from '@skein/telemetry';
import { TokenizerError } from '@skein/tokenizer';
import { logFormat, logLevel, terminalFormat } from './log-settings.ts';

/** Exit codes a supervisor can act on: 78 (EX_CONFIG) is not worth a retry. */
export const EXIT_CONFIG = 78;
const CONFIG_CODES: ReadonlySet<string> = new Set([
  'ERR_ADDRESS',
  'ERR_CHAT_TEMPLATE',
  'ERR_CHECKPOINT',
  'ERR_CHILD_CONFIG',
  'ERR_GROUP_KEY',
  'ERR_LISTEN',
  'ERR_LWS_ENVIRONMENT',
  'ERR_MAX_MODEL_LEN',
  'ERR_MODEL_CONFIG',
  'ERR_OPTION',
  'ERR_STAGE_SPLIT',
  'ERR_TOKENIZER_FILE',
  'ERR_VARIABLE',
]);

/** Runs a command with the logger that flag and variables ask for, until it is done or SIGTERM or SIGINT comes; a second
 *  signal ends it at once. An error we have a code for is one line; any other shows its stack. */
export async function runCommand(
  flags: { readonly logLevel?: LogLevel },
  run: (logger: Logger, signal: AbortSignal) => Promise<void>,
): Promise<never> {
  const stopping = new AbortController();
  let logger: Logger | null = null;
  const stop = (name: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(130);
    logger?.info(`${name}: stopping`);
    stopping.abort();
  };
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, stop);
  try {
    logger = createLogger({ level: logLevel(flags), format: logFormat() });
    await run(logger, stopping.signal);
    process.exit(0);
  } catch (error) {
    if (stopping.signal.aborted) process.exit(0);
    const code = codeOf(error);
    logger ??= createLogger({ level: 'info', format: terminalFormat() });
    logger.fatal(
      code === null ? { error: error instanceof Error ? error.stack : String(error) } : { code },
      error instanceof Error ? error.message : String(error),
    );
    process.exit(code !== null && CONFIG_CODES.has(code) ? EXIT_CONFIG : 1);
  }
}

/** Null for an error that is no answer to a user: then its stack is what helps. */
function codeOf(error: unknown): string | null {
  return error instanceof SkeinError || error instanceof TokenizerError ? error.code : null;
}
