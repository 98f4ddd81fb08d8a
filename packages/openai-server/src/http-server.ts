import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Logger, type Metrics, skeinMetrics, type Tracing, type TraceSpan } from '@skein/telemetry';
import type { ApiKeyGuard } from './api-key.ts';
import { clientOf } from './client-identity.ts';
import { ApiError, errorBody, notFound, toApiError, unavailable } from './errors.ts';
import { ClientGoneError, type Exchange, sendError, sendJson } from './exchange.ts';
import { pathOf, type Route, RouteTable } from './route-table.ts';

export interface HttpServerOptions {
  readonly routes: readonly Route[];
  readonly guard: ApiKeyGuard;
  readonly groupKey: string | null;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Makes a span of each request that is no probe. */
  readonly tracing?: Tracing | null;
  readonly limits?: Partial<ConnectionLimits>;
  /** False logs each request at debug. Default true. */
  readonly logRequests?: boolean;
}

export interface ConnectionLimits {
  readonly headerBytes: number;
  /** From the connection's or the last answer's end to a request's last header byte. */
  readonly headersMs: number;
  /** From a request's first byte to its last. */
  readonly requestMs: number;
  readonly keepAliveMs: number;
}

const defaultLimits: ConnectionLimits = {
  headerBytes: 16_384,
  headersMs: 10_000,
  requestMs: 60_000,
  keepAliveMs: 65_000,
};

/** After an early answer the rest of an upload is thrown away for this long, so that the client can read the answer. */
const lingerMs = 2_000;

interface Live {
  readonly controller: AbortController;
  readonly response: ServerResponse;
}

/** HTTP/1.1 with a route table, an API key guard, request ids, cancellation and drain. Knows nothing of models. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #routes: RouteTable;
  readonly #server: Server;
  readonly #live = new Map<string, Live>();
  #draining = false;
  #idle = (): void => {};

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#routes = new RouteTable(options.routes);
    options.metrics.gauge(skeinMetrics.httpRequestsInFlight).set(0);
    const limits = { ...defaultLimits, ...options.limits };
    this.#server = createServer(
      {
        maxHeaderSize: limits.headerBytes,
        headersTimeout: limits.headersMs,
        requestTimeout: limits.requestMs,
        keepAliveTimeout: limits.keepAliveMs,
        connectionsCheckingInterval: Math.min(1_000, limits.headersMs),
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.on('clientError', refuseConnection);
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Requests being answered. */
  get inFlight(): number {
    return this.#live.size;
  }

  /** Port 0 takes a free one. @returns where it listens. Rejects when the port is taken. */
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ host: string; port: number }>();
    this.#server.once('error', reject);
    this.#server.listen(port, host, () => {
      this.#server.off('error', reject);
      const address = this.#server.address() as AddressInfo;
      resolve({ host: address.address, port: address.port });
    });
    return promise;
  }

  /** Refuses new work, waits up to `budgetMs` for what is running, ends the rest with an error, and closes. The port stays
   *  open until then, so that probes hear "draining" rather than nothing. */
  async drain(budgetMs: number): Promise<void> {
    this.#draining = true;
    if (this.#live.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#idle = resolve;
      const timer = setTimeout(resolve, budgetMs);
      await promise;
      clearTimeout(timer);
    }
    await this.close();
  }

  /** Ends running requests with a 503 (or an error event) and closes every connection. */
  async close(): Promise<void> {
    this.#draining = true;
    for (const { controller } of this.#live.values()) controller.abort(unavailable('The server is shutting down.'));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeIdleConnections();
    // Error events get a moment to leave; a client that does not read is cut off.
    const timer = setTimeout(() => this.#server.closeAllConnections(), 500);
    await promise;
    clearTimeout(timer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = performance.now();
    const requestId = requestIdOf(request);
    const workId = this.#live.has(requestId) ? `${requestId}-${randomUUID().slice(0, 8)}` : requestId;
    const controller = new AbortController();
    const notes: Record<string, unknown> = {};
    const log = this.#options.log.child({ requestId });
    const match = this.#routes.match(request.method ?? '', pathOf(request.url));
    const route = match.found ? match.route : null;
    this.#live.set(workId, { controller, response });
    this.#countInFlight(route, 1);
    response.on('close', () => {
      if (!response.writableFinished) controller.abort(new ClientGoneError());
    });
    response.setHeader('x-request-id', requestId);
    if (this.#draining) response.setHeader('connection', 'close');
    const exchange: Exchange = {
      request,
      response,
      requestId,
      workId,
      rest: match.found ? match.rest : '',
      client: clientOf(request, this.#options.groupKey),
      signal: controller.signal,
      log,
      span: this.#span(request, route, requestId),
      note: (fields) => void Object.assign(notes, fields),
    };
    try {
      if (route?.open !== true && !this.#options.guard.allows(request)) {
        sendJson(response, 401, { error: 'Unauthorized' });
      } else if (!match.found) {
        throw noRoute(response, match.allow);
      } else {
        await match.route.handle(exchange);
      }
    } catch (thrown) {
      this.#fail(exchange, thrown);
    } finally {
      this.#finish(exchange, { route, ms: performance.now() - startedMs, notes });
    }
  }

  #fail(exchange: Exchange, thrown: unknown): void {
    const { signal, response, requestId, log } = exchange;
    if (signal.aborted && !(signal.reason instanceof ApiError)) return void response.destroy();
    const error = toApiError(signal.aborted ? signal.reason : thrown);
    if (error.status === 500) log.error({ err: thrown }, 'request failed');
    exchange.note({ error: error.type });
    sendError(response, error, requestId);
  }

  #finish(
    exchange: Exchange,
    end: { readonly route: Route | null; readonly ms: number; readonly notes: Record<string, unknown> },
  ): void {
    const { request, response, signal, log, workId } = exchange;
    if (!request.complete && !request.destroyed) linger(request);
    const gone = signal.aborted && signal.reason instanceof ClientGoneError;
    const status = gone ? 499 : response.statusCode;
    const route = end.route?.path ?? 'unknown';
    this.#options.metrics.counter(skeinMetrics.httpRequests).inc({ route, status: String(status) });
    const isQuiet = end.route?.probe === true || this.#options.logRequests === false;
    log[isQuiet ? 'debug' : 'info']({ route, status, ms: Math.round(end.ms), ...end.notes }, 'request');
    exchange.span?.set({ 'http.response.status_code': status });
    exchange.span?.end({ error: gone ? 'client gone' : status >= 500 ? String(status) : null });
    this.#live.delete(workId);
    this.#countInFlight(end.route, -1);
    if (this.#live.size === 0) this.#idle();
  }

  #span(request: IncomingMessage, route: Route | null, requestId: string): TraceSpan | null {
    if (route === null || route.probe === true) return null;
    const { method = '' } = request;
    const attributes = { 'http.request.method': method, 'http.route': route.path, 'skein.request_id': requestId };
    const { tracing = null } = this.#options;
    return tracing?.span(`${method} ${route.path}`, request.headers, { kind: 'server', attributes }) ?? null;
  }

  /** Probes are left out: a scrape would always find itself. */
  #countInFlight(route: Route | null, change: 1 | -1): void {
    if (route?.probe !== true) this.#options.metrics.gauge(skeinMetrics.httpRequestsInFlight).inc({}, change);
  }
}

/** The client's X-Request-Id when it is a plain token, else a new id. */
function requestIdOf(request: IncomingMessage): string {
  const offered = request.headers['x-request-id'];
  return typeof offered === 'string' && /^[\w.:-]{1,128}$/.test(offered) ? offered : randomUUID().replaceAll('-', '');
}

function noRoute(response: ServerResponse, allow: readonly string[]): ApiError {
  if (allow.length === 0) return notFound('Not Found');
  response.setHeader('allow', allow.join(', '));
  return new ApiError(405, 'MethodNotAllowedError', 'Method Not Allowed');
}

function linger(request: IncomingMessage): void {
  request.resume();
  const timer = setTimeout(() => request.destroy(), lingerMs);
  timer.unref();
  request.once('close', () => clearTimeout(timer));
}

/** Bytes that are no HTTP, or too many, or too slow. */
function refuseConnection(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
  const [status, reason] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request'];
  const body = JSON.stringify(errorBody(new ApiError(status, 'Bad Request', reason)));
  const head = `HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Type: application/json\r\n`;
  socket.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}
