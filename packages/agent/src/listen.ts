import type { HttpServer } from '@skein/openai-server';
import { ConfigError } from './errors.ts';
import { hostInUrl } from './host.ts';

/** Listens, or says which address cannot be had and what to choose instead.
 *  @throws ConfigError ERR_LISTEN: another attempt would meet the same, and a port that is taken is a mistake of the start. */
export async function listen(
  server: Pick<HttpServer, 'listen'>,
  host: string,
  port: number,
): Promise<{ readonly host: string; readonly port: number }> {
  try {
    return await server.listen(host, port);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    const reason =
      code === 'EADDRINUSE'
        ? 'is taken; choose another with --port'
        : `cannot be listened on (${code}); choose others with --host and --port`;
    throw new ConfigError('ERR_LISTEN', `${hostInUrl(host)}:${port} ${reason}`, { cause: error });
  }
}
