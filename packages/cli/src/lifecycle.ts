import { SkeinError } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';

/** Exit codes a supervisor can act on: 78 (EX_CONFIG) is not worth a retry. */
export const EXIT_CONFIG = 78;
const CONFIG_CODES = new Set([
  'ERR_LWS_ENVIRONMENT',
  'ERR_GROUP_KEY',
  'ERR_LISTEN',
  'ERR_CHILD_CONFIG',
  'ERR_MODEL_CONFIG',
  'ERR_CHECKPOINT',
  'ERR_STAGE_SPLIT',
  'ERR_MAX_MODEL_LEN',
  'ERR_TOKENIZER_FILE',
]);

/** Runs a long-lived command until SIGTERM or SIGINT; a second signal ends it at once. */
export async function runUntilSignal(logger: Logger, run: (signal: AbortSignal) => Promise<void>): Promise<never> {
  const stopping = new AbortController();
  const stop = (name: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(130);
    logger.info(`${name}: stopping`);
    stopping.abort();
  };
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, stop);
  try {
    await run(stopping.signal);
    process.exit(0);
  } catch (error) {
    if (stopping.signal.aborted) process.exit(0);
    const code = error instanceof SkeinError ? error.code : null;
    logger.fatal(
      code === null ? { error: error instanceof Error ? error.stack : String(error) } : { code },
      error instanceof Error ? error.message : String(error),
    );
    process.exit(code !== null && CONFIG_CODES.has(code) ? EXIT_CONFIG : 1);
  }
}
