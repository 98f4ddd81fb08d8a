import { ConfigError } from '@skein/agent';
import { SkeinError } from '@skein/protocol';
import { createLogger, type LogFormat, type Logger } from '@skein/telemetry';
import { TokenizerError } from '@skein/tokenizer';
import type { Resolved } from './flags/resolve.ts';

/** Exit codes a supervisor can act on: 78 (EX_CONFIG) is not worth a retry. */
export const EXIT_CONFIG = 78;
/** Beside every ConfigError: what a checkpoint or a flag's value is refused with by the package that reads it. */
const CONFIG_CODES: ReadonlySet<string> = new Set([
  'ERR_CHAT_TEMPLATE',
  'ERR_CHECKPOINT',
  'ERR_EXPERT_LOAD',
  'ERR_EXPERT_PLACEMENT',
  'ERR_FORMATION_CHOICE',
  'ERR_KV_CACHE',
  'ERR_MODEL_CONFIG',
  'ERR_OPTION',
  'ERR_STAGE_SPLIT',
  'ERR_TENSOR_SPLIT',
  'ERR_TOKENIZER_FILE',
]);

/** What a command runs with. */
export interface Running {
  readonly resolved: Resolved;
  readonly logger: Logger;
  readonly logFormat: LogFormat;
  /** Aborted by SIGTERM, SIGINT or SIGHUP. */
  readonly signal: AbortSignal;
}

/** Runs a command until it is done or a signal ends it; a second signal ends it at once. An error we have a code for is one
 *  line; any other shows its stack. */
export async function runCommand(resolve: () => Resolved, run: (running: Running) => Promise<void>): Promise<never> {
  const stopping = new AbortController();
  let logger: Logger | null = null;
  const stop = (name: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(130);
    logger?.info(`${name}: stopping`);
    stopping.abort();
  };
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, stop);
  const ownFormat = process.stderr.isTTY ? 'text' : 'json';
  try {
    const resolved = resolve();
    const logFormat = resolved.settings.logFormat ?? ownFormat;
    logger = createLogger({ level: resolved.settings.logLevel, format: logFormat });
    await run({ resolved, logger, logFormat, signal: stopping.signal });
    process.exit(0);
  } catch (error) {
    if (stopping.signal.aborted) process.exit(0);
    const code = codeOf(error);
    logger ??= createLogger({ level: 'info', format: ownFormat });
    logger.fatal(
      code === null ? { error: error instanceof Error ? error.stack : String(error) } : { code },
      error instanceof Error ? error.message : String(error),
    );
    const isConfig = error instanceof ConfigError || (code !== null && CONFIG_CODES.has(code));
    process.exit(isConfig ? EXIT_CONFIG : 1);
  }
}

/** Null for an error that is no answer to a user: then its stack is what helps. */
function codeOf(error: unknown): string | null {
  return error instanceof SkeinError || error instanceof TokenizerError ? error.code : null;
}
