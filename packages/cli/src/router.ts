import { hostname } from 'node:os';
import { hostInUrl, listen, natsBus, untilAbort } from '@skein/agent';
import { newIdentity } from '@skein/protocol';
import { createRouter } from '@skein/router';
import { Metrics, Tracing } from '@skein/telemetry';
import { variable } from './environment.ts';
import type { Running } from './lifecycle.ts';
import { VERSION } from './version.ts';

/** `skein router`: the front door. Serves until the signal, then drains. */
export async function router(running: Running): Promise<void> {
  const { settings } = running.resolved;
  const logger = running.logger.child({ role: 'router' });
  const groupKey = variable('groupKey');
  await using bus = await natsBus(settings.natsUrl ?? 'nats://127.0.0.1:4222', {
    identity: newIdentity('router'),
    groupKey,
    logger,
    signal: running.signal,
  });
  const { otlpTracesEndpoint: endpoint } = settings;
  await using tracing =
    endpoint === null ? null : await Tracing.start({ endpoint, serviceName: 'skein-router', instanceId: hostname() });
  const server = createRouter({
    bus,
    log: logger,
    metrics: new Metrics(),
    version: VERSION,
    apiKeys: settings.apiKey ?? [],
    logRequests: settings.enableLogRequests,
    tracing,
    guardMetrics: settings.apiKeyGuardsMetrics,
    groupKey,
  });
  const { host, port } = await listen(server, settings.host, settings.port);
  logger.info(`the router listens on http://${hostInUrl(host)}:${port}`);
  await untilAbort(running.signal);
  await server.drain(settings.drainTimeout * 1000);
}
