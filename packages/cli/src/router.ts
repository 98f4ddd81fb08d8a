import { listen, natsBus, untilAbort } from '@skein/agent';
import { newIdentity } from '@skein/protocol';
import { createRouter } from '@skein/router';
import { type Logger, Metrics } from '@skein/telemetry';
import { VERSION } from './version.ts';

export interface RouterCommand {
  readonly host: string;
  readonly port: number;
  readonly natsUrl: string;
  readonly groupKey: string | null;
  readonly apiKeys: readonly string[];
  readonly logRequests: boolean;
  readonly guardMetrics: boolean;
  readonly drainMs: number;
}

/** `skein router`: serves until `signal`, then drains. */
export async function runRouter(options: RouterCommand, logger: Logger, signal: AbortSignal): Promise<void> {
  const { natsUrl, groupKey, apiKeys, guardMetrics, logRequests } = options;
  await using bus = await natsBus(natsUrl, {
    identity: newIdentity('router'),
    groupKey,
    logger,
    signal,
  });
  const router = createRouter({
    bus,
    log: logger,
    metrics: new Metrics(),
    version: VERSION,
    apiKeys,
    logRequests,
    guardMetrics,
    groupKey,
  });
  const { host, port } = await listen(router, options.host, options.port);
  logger.info(`the router listens on http://${host}:${port}`);
  await untilAbort(signal);
  await router.drain(options.drainMs);
}
