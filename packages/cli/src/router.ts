import { hostname } from 'node:os';
import { listen, natsBus, untilAbort } from '@skein/agent';
import { newIdentity } from '@skein/protocol';
import { createRouter } from '@skein/router';
import { type Logger, Metrics, Tracing } from '@skein/telemetry';
import { VERSION } from './version.ts';

export interface RouterCommand {
  readonly host: string;
  readonly port: number;
  readonly natsUrl: string;
  readonly groupKey: string | null;
  readonly apiKeys: readonly string[];
  readonly logRequests: boolean;
  readonly tracesEndpoint: string | null;
  readonly guardMetrics: boolean;
  readonly drainMs: number;
}

/** `skein router`: serves until `signal`, then drains. */
export async function runRouter(options: RouterCommand, logger: Logger, signal: AbortSignal): Promise<void> {
  const { natsUrl, groupKey, apiKeys, guardMetrics, logRequests, tracesEndpoint } = options;
  await using bus = await natsBus(natsUrl, {
    identity: newIdentity('router'),
    groupKey,
    logger,
    signal,
  });
  await using tracing =
    tracesEndpoint === null
      ? null
      : await Tracing.start({ endpoint: tracesEndpoint, serviceName: 'skein-router', instanceId: hostname() });
  const router = createRouter({
    bus,
    log: logger,
    metrics: new Metrics(),
    version: VERSION,
    apiKeys,
    logRequests,
    tracing,
    guardMetrics,
    groupKey,
  });
  const { host, port } = await listen(router, options.host, options.port);
  logger.info(`the router listens on http://${host}:${port}`);
  await untilAbort(signal);
  await router.drain(options.drainMs);
}
