import type { IncomingHttpHeaders } from 'node:http';
import type { TraceHeaders } from '@skein/telemetry';
import { clientHeaders, type Exchange, signClient } from '@skein/openai-server';

/** Headers that belong to one connection, and those that the router writes itself. */
const dropped = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'host',
  'content-length',
  'accept-encoding',
  'x-request-id',
]);

/** What goes to the leader: the client's headers less those of its connection and any claim of identity, plus the request id
 *  and the router's own, signed, word on who asks. */
export function requestHeaders(
  exchange: Exchange,
  groupKey: string | null,
  trace: TraceHeaders = {},
): Record<string, string> {
  // Without spans of its own the router hands the client's trace on as it came.
  const headers = { ...passedOn(exchange.request.headers), ...trace };
  headers['x-request-id'] = exchange.requestId;
  if (groupKey !== null) {
    headers[clientHeaders.client] = exchange.client;
    headers[clientHeaders.signature] = signClient(groupKey, exchange.client);
  }
  return headers;
}

/** What goes back to the client. */
export function responseHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  return passedOn(headers);
}

function passedOn(headers: IncomingHttpHeaders): Record<string, string> {
  const named = new Set((headers.connection ?? '').toLowerCase().split(/\s*,\s*/));
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || dropped.has(name) || named.has(name) || name.startsWith('x-skein-')) continue;
    passed[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return passed;
}
