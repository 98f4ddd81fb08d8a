import type { Metrics } from '@skein/telemetry';
import { type Exchange, sendJson, sendText } from './exchange.ts';
import type { Route } from './route-table.ts';

export interface Readiness {
  readonly ready: boolean;
  /** Why not; '' when ready. */
  readonly reason: string;
}

export interface StatusRoutesOptions {
  /** Proof of progress, or why there is none. Asked on every probe: keep it to reading what is known. */
  readonly isReady: () => Readiness;
  readonly draining: () => boolean;
  readonly metrics: Metrics;
  /** Before /metrics is answered: bring gauges up to date. */
  readonly onScrape: () => void | Promise<void>;
  readonly guardMetrics: boolean;
  readonly version: string;
  /** The body of GET /v1/skein/topology. */
  readonly topology: (exchange: Exchange) => unknown;
  /** The body of GET /v1/skein/experts. */
  readonly experts: (exchange: Exchange) => unknown;
}

/** What leader and router tell of themselves. /livez is the process; /readyz is whether to send it work; /health is vLLM's. */
export function statusRoutes(options: StatusRoutesOptions): Route[] {
  const readiness = (): Readiness => (options.draining() ? { ready: false, reason: 'draining' } : options.isReady());
  const health = ({ response }: Exchange): void => sendText(response, readiness().ready ? 200 : 503, '');
  const readyz = ({ response }: Exchange): void => {
    const { ready, reason } = readiness();
    sendJson(response, ready ? 200 : 503, ready ? { ready } : { ready, reason });
  };
  const metrics = async ({ response }: Exchange): Promise<void> => {
    await options.onScrape();
    sendText(response, 200, await options.metrics.text(), options.metrics.contentType);
  };
  const document =
    (body: (exchange: Exchange) => unknown) =>
    async (exchange: Exchange): Promise<void> =>
      sendJson(exchange.response, 200, await body(exchange));
  return [
    { method: 'GET', path: '/livez', open: true, probe: true, handle: ({ response }) => sendText(response, 200, '') },
    { method: 'GET', path: '/readyz', open: true, probe: true, handle: readyz },
    { method: 'GET', path: '/health', open: true, probe: true, handle: health },
    {
      method: 'GET',
      path: '/version',
      open: true,
      probe: true,
      handle: ({ response }) => sendJson(response, 200, { version: options.version }),
    },
    { method: 'GET', path: '/metrics', open: !options.guardMetrics, probe: true, handle: metrics },
    { method: 'GET', path: '/v1/skein/topology', probe: true, handle: document(options.topology) },
    { method: 'GET', path: '/v1/skein/experts', probe: true, handle: document(options.experts) },
  ];
}
