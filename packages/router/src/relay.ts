import { ApiError, ClientGoneError, type Exchange, readBody, unavailable } from '@skein/openai-server';
import type { Endpoints } from './endpoints.ts';
import type { RelayOutcome, RouterMetrics } from './router-metrics.ts';
import { requestHeaders } from './upstream-headers.ts';
import type { Upstream, UpstreamRequest } from './upstream.ts';

export interface RelayOptions {
  readonly endpoints: Endpoints;
  readonly upstream: Upstream;
  readonly metrics: RouterMetrics;
  readonly groupKey: string | null;
  readonly maxBodyBytes: number;
  /** How long a request that no leader can take is kept, attempts included. */
  readonly retryMs: number;
  readonly draining: () => boolean;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** Between two rounds over endpoints that have all refused, unless membership changes first. */
const roundMs = 200;

/** Takes a generation request to a leader and its answer back, trying other leaders while the client has seen nothing. Each
 *  request ends in exactly one outcome. */
export async function relay(exchange: Exchange, options: RelayOptions): Promise<void> {
  const { metrics } = options;
  metrics.begin();
  let outcome: RelayOutcome = 'error';
  try {
    outcome = await attempt(exchange, options);
  } catch (error) {
    outcome = outcomeOf(exchange, error);
    throw error;
  } finally {
    metrics.end(outcome);
    exchange.note({ outcome });
  }
}

async function attempt(exchange: Exchange, options: RelayOptions): Promise<RelayOutcome> {
  const { endpoints, upstream, metrics, now } = options;
  if (options.draining()) throw unavailable('The router is shutting down.');
  const body = await readBody(exchange.request, options.maxBodyBytes, exchange.signal);
  const deadlineMs = now() + options.retryMs;
  const model = modelOf(body, endpoints);
  let failed = new Set<string>();
  let lastReason: string | null = null;

  for (;;) {
    const picked = endpoints.pick({ model, failed });
    if (picked === null) {
      const leftMs = deadlineMs - now();
      if (leftMs <= 0) throw exhausted(lastReason);
      await endpoints.changed(Math.min(leftMs, roundMs), exchange.signal);
      failed = new Set();
      continue;
    }
    const { advert, reservation, lost } = picked;
    metrics.pick(advert.group);
    const span = exchange.span?.child('relay', { kind: 'client', attributes: { 'skein.group': advert.group } }) ?? null;
    const request: UpstreamRequest = {
      origin: new URL(advert.url).origin,
      path: exchange.request.url ?? '/',
      headers: requestHeaders(exchange, options.groupKey, span?.headers()),
      body,
      lost,
    };
    try {
      const result = await upstream.relay(exchange, request);
      if (result.type !== 'answered') span?.set({ 'error.type': result.type === 'lost' ? 'lost' : result.reason });
      if (result.type === 'answered') {
        exchange.note({ group: advert.group });
        return outcomeOfStatus(result.status);
      }
      if (result.type === 'lost')
        throw new ApiError(502, 'BadGatewayError', 'The engine was lost while answering.', { code: 'ERR_LOST' });
      if (result.reason === 'timeout')
        throw new ApiError(504, 'GatewayTimeoutError', 'The engine did not answer in time.');
      if (result.reason === 'connect') {
        endpoints.eject(advert);
        metrics.eject(result.reason);
      }
      metrics.retry(result.reason);
      lastReason = result.reason;
      failed.add(advert.group);
    } finally {
      span?.end();
      reservation.release();
    }
  }
}

function exhausted(lastReason: string | null): ApiError {
  if (lastReason === null || lastReason === 'unavailable')
    return unavailable('No engine is ready; try again later.', 5);
  return new ApiError(502, 'BadGatewayError', 'No engine could be reached.', { code: 'ERR_UNREACHABLE' });
}

/** The body is looked into only where leaders differ in their model; one without a known model goes to any of them, which
 *  then says what is wrong with it. */
function modelOf(body: Buffer, endpoints: Endpoints): string | null {
  const models = new Set(endpoints.adverts.map((advert) => advert.model));
  if (models.size < 2) return null;
  try {
    const parsed: unknown = JSON.parse(body.toString());
    const model = typeof parsed === 'object' && parsed !== null && 'model' in parsed ? parsed.model : null;
    return typeof model === 'string' && models.has(model) ? model : null;
  } catch {
    return null;
  }
}

function outcomeOfStatus(status: number): RelayOutcome {
  if (status === 429) return 'overloaded';
  if (status >= 500) return 'server_error';
  return status >= 400 ? 'client_error' : 'ok';
}

function outcomeOf(exchange: Exchange, error: unknown): RelayOutcome {
  if (exchange.signal.reason instanceof ClientGoneError) return 'client_gone';
  if (exchange.signal.aborted) return 'shutdown';
  if (!(error instanceof ApiError)) return 'error';
  if (error.code === 'ERR_LOST') return 'lost';
  if (error.status === 502) return 'unreachable';
  if (error.status === 503) return 'no_endpoint';
  return error.status === 504 ? 'timeout' : 'client_error';
}
