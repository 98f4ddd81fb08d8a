import type { MessageBus } from '@skein/message-bus';
import {
  ApiKeyGuard,
  type ConnectionLimits,
  defaultBodyLimits,
  type Exchange,
  HttpServer,
  type Readiness,
  statusRoutes,
} from '@skein/openai-server';
import type { Logger, Metrics, Tracing } from '@skein/telemetry';
import { Endpoints } from './endpoints.ts';
import { MergedAnswers } from './merged-answers.ts';
import { relay, type RelayOptions } from './relay.ts';
import { RouterMetrics } from './router-metrics.ts';
import { Upstream, type UpstreamLimits } from './upstream.ts';

export interface RouterOptions {
  /** Borrowed: closing the router does not close it. */
  readonly bus: Pick<MessageBus, 'watch'>;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Makes spans of requests; the caller's to close. */
  readonly tracing?: Tracing | null;
  readonly version: string;
  /** Without keys everybody may ask. */
  readonly apiKeys?: readonly string[];
  readonly guardMetrics?: boolean;
  /** False logs each request at debug. Default true. */
  readonly logRequests?: boolean;
  /** Signs what the router tells leaders of its clients. */
  readonly groupKey?: string | null;
  readonly maxBodyBytes?: number;
  /** How long a request waits for a leader that can take it. Default 10 s. */
  readonly retryMs?: number;
  /** For each leader's share of a merged answer. Default 2 s. */
  readonly mergeMs?: number;
  readonly ejectionMs?: number;
  /** For a leader whose lease has expired to answer for itself. Default 1.5 s. */
  readonly aliveMs?: number;
  readonly upstreamLimits?: Partial<UpstreamLimits>;
  readonly connectionLimits?: Partial<ConnectionLimits>;
  /** In [0, 1). */
  readonly random?: () => number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export interface Router {
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }>;
  /** Refuses new work, lets running streams finish for up to `budgetMs`, then closes. */
  drain(budgetMs: number): Promise<void>;
  close(): Promise<void>;
  /** Requests sent to leaders and not yet over. */
  readonly numReserved: number;
}

const defaultUpstreamLimits: UpstreamLimits = { connectMs: 2_000, firstByteMs: 600_000, idleMs: 300_000 };

/** The front door: knows leaders by membership, picks one per request, relays, fails over. */
export function createRouter(options: RouterOptions): Router {
  const { bus, log, metrics } = options;
  const now = options.now ?? (() => performance.now());
  const groupKey = options.groupKey ?? null;
  const upstream = new Upstream({ ...defaultUpstreamLimits, ...options.upstreamLimits });
  const endpoints = new Endpoints({
    bus,
    log,
    random: options.random ?? Math.random,
    now,
    ejectionMs: options.ejectionMs ?? 10_000,
    answers: ({ url }) => upstream.answers(new URL('/livez', url).href, options.aliveMs ?? 1_500),
  });
  const routerMetrics = new RouterMetrics(metrics);
  const merged = new MergedAnswers({ endpoints, upstream, groupKey, deadlineMs: options.mergeMs ?? 2_000 });
  const draining = (): boolean => server.draining;
  const relayOptions: RelayOptions = {
    endpoints,
    upstream,
    metrics: routerMetrics,
    groupKey,
    maxBodyBytes: options.maxBodyBytes ?? defaultBodyLimits.maxBytes,
    retryMs: options.retryMs ?? 10_000,
    draining,
    now,
  };
  const generate = (exchange: Exchange): Promise<void> => relay(exchange, relayOptions);
  const isReady = (): Readiness => {
    const ready = endpoints.counts.ready > 0;
    return { ready, reason: ready ? '' : 'no leader is ready' };
  };
  const server = new HttpServer({
    routes: [
      { method: 'POST', path: '/v1/chat/completions', handle: generate },
      { method: 'POST', path: '/v1/completions', handle: generate },
      { method: 'GET', path: '/v1/models', handle: (exchange) => merged.models(exchange) },
      { method: 'GET', path: '/v1/models/*', handle: (exchange) => merged.model(exchange) },
      ...statusRoutes({
        isReady,
        draining,
        metrics,
        onScrape: () => routerMetrics.scrape(endpoints),
        guardMetrics: options.guardMetrics ?? false,
        version: options.version,
        topology: (exchange) => merged.topology(exchange),
        experts: (exchange) => merged.experts(exchange),
      }),
    ],
    guard: new ApiKeyGuard(options.apiKeys ?? []),
    groupKey,
    log,
    metrics,
    logRequests: options.logRequests ?? true,
    tracing: options.tracing ?? null,
    ...(options.connectionLimits === undefined ? {} : { limits: options.connectionLimits }),
  });
  const release = async (): Promise<void> => {
    endpoints.close();
    await upstream.close();
  };
  return {
    listen: (host, port) => server.listen(host, port),
    drain: (budgetMs) => server.drain(budgetMs).then(release),
    close: () => server.close().then(release),
    get numReserved() {
      return endpoints.reservations.total;
    },
  };
}
