import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger, TraceSpan } from '@skein/telemetry';
import { type ApiError, errorBody } from './errors.ts';

/** One request and its answer, as a handler sees them. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** What a `*` in the route's path stood for. */
  readonly rest: string;
  /** The client's X-Request-Id, or one of ours. Sent back as X-Request-Id. */
  readonly requestId: string;
  /** As requestId, but never that of another request still being answered here. */
  readonly workId: string;
  /** Tenant id; see clientOf. */
  readonly client: string;
  /** Aborts when the client leaves (reason: ClientGoneError) or the server's drain budget is spent (reason: an ApiError). */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Null without tracing, and for probes. */
  readonly span: TraceSpan | null;
  /** Adds to the request's log line. Numbers and names only. */
  note(fields: Readonly<Record<string, unknown>>): void;
}

/** The client closed its connection before it had the whole answer. Nobody is left to tell. */
export class ClientGoneError extends Error {
  constructor() {
    super('the client closed the connection');
    this.name = 'ClientGoneError';
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length });
  response.end(bytes);
}

export function sendText(
  response: ServerResponse,
  status: number,
  text: string,
  contentType = 'text/plain; charset=utf-8',
): void {
  const bytes = Buffer.from(text);
  response.writeHead(status, {
    ...(bytes.length > 0 ? { 'content-type': contentType } : {}),
    'content-length': bytes.length,
  });
  response.end(bytes);
}

/** Before the first byte: status and error body. Inside an event stream: one error event and the end, without [DONE], so that
 *  no client takes the text for whole. Inside anything else: the connection is cut. */
export function sendError(response: ServerResponse, error: ApiError, requestId: string): void {
  if (!response.headersSent) {
    if (error.retryAfterSeconds !== null) response.setHeader('retry-after', String(error.retryAfterSeconds));
    sendJson(response, error.status, errorBody(error));
  } else if (String(response.getHeader('content-type')).startsWith('text/event-stream')) {
    response.end(`data: ${JSON.stringify(errorBody(error, requestId))}\n\n`);
  } else {
    response.destroy();
  }
}
