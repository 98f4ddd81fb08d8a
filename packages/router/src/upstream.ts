import { once } from 'node:events';
import type { Exchange } from '@skein/openai-server';
import { Agent, type Dispatcher } from 'undici';
import { EventSplitter } from './event-splitter.ts';
import { failureOf, type UpstreamFailure } from './upstream-error.ts';
import { responseHeaders } from './upstream-headers.ts';

export interface UpstreamLimits {
  readonly connectMs: number;
  /** To the first byte of an answer: queueing and prefill included. */
  readonly firstByteMs: number;
  /** Between two bytes of an answer. */
  readonly idleMs: number;
}

export interface UpstreamRequest {
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Aborts when the leader cannot answer any more, though its connection stands. */
  readonly lost: AbortSignal;
}

export type RefusalReason = UpstreamFailure | 'unavailable';

export type RelayResult =
  /** The client has the whole answer. */
  | { readonly type: 'answered'; readonly status: number }
  /** The client has seen nothing: another endpoint may answer. */
  | { readonly type: 'refused'; readonly reason: RefusalReason }
  /** The leader was lost after the client had seen some of the answer. */
  | { readonly type: 'lost' };

/** Whole answers up to this size are held until complete, so that a leader lost meanwhile can be replaced. */
const maxHeldBytes = 32 * 1024 * 1024;
const maxEventBytes = 4 * 1024 * 1024;

/** Sends requests to leaders and their answers to clients. */
export class Upstream {
  readonly #agent: Agent;

  constructor(limits: UpstreamLimits) {
    this.#agent = new Agent({
      connect: { timeout: limits.connectMs },
      headersTimeout: limits.firstByteMs,
      bodyTimeout: limits.idleMs,
      // Below any server's own, so that few requests meet a connection about to close.
      keepAliveTimeout: 4_000,
    });
  }

  /** Rejects only with the exchange's abort reason. */
  async relay(exchange: Exchange, request: UpstreamRequest): Promise<RelayResult> {
    const { response, signal } = exchange;
    const { origin, path, headers, body, lost } = request;
    try {
      const answer = await this.#agent.request({
        origin,
        path,
        method: 'POST',
        headers: { ...headers },
        body,
        signal: AbortSignal.any([signal, lost]),
      });
      if (answer.statusCode === 503) {
        await answer.body.dump();
        return { type: 'refused', reason: 'unavailable' };
      }
      const isStream = String(answer.headers['content-type']).startsWith('text/event-stream');
      await (isStream ? relayEvents(exchange, answer) : relayWhole(exchange, answer));
      return { type: 'answered', status: answer.statusCode };
    } catch (error) {
      signal.throwIfAborted();
      exchange.log.debug({ origin, err: error }, 'leader failed');
      return response.headersSent ? { type: 'lost' } : { type: 'refused', reason: failureOf(error) };
    }
  }

  /** A leader's JSON answer to a GET. Rejects when it has none. */
  async getJson(url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<unknown> {
    const { statusCode, body } = await this.#agent.request({
      ...target(url),
      method: 'GET',
      headers: { ...headers },
      signal,
    });
    if (statusCode === 200) return body.json();
    await body.dump();
    throw new Error(`status ${statusCode}`);
  }

  /** Whether a server answers at all, within `deadlineMs`. */
  async answers(url: string, deadlineMs: number): Promise<boolean> {
    try {
      const { body } = await this.#agent.request({
        ...target(url),
        method: 'GET',
        signal: AbortSignal.timeout(deadlineMs),
      });
      await body.dump();
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

function target(url: string): { readonly origin: string; readonly path: string } {
  const { origin, pathname } = new URL(url);
  return { origin, path: pathname };
}

async function relayEvents({ response, signal }: Exchange, answer: Dispatcher.ResponseData): Promise<void> {
  const splitter = new EventSplitter(maxEventBytes);
  const send = async (events: Buffer): Promise<void> => {
    if (events.length === 0) return;
    // Not before the first whole event: until then another leader can still answer.
    if (!response.headersSent) response.writeHead(answer.statusCode, responseHeaders(answer.headers));
    // The leader is not read meanwhile, so its own socket fills and it waits too.
    if (!response.write(events)) await once(response, 'drain', { signal });
  };
  for await (const chunk of answer.body) await send(splitter.add(chunk as Buffer));
  await send(splitter.end());
  if (!response.headersSent) throw new Error('the stream ended before its first event');
  response.end();
}

async function relayWhole({ response, signal }: Exchange, answer: Dispatcher.ResponseData): Promise<void> {
  const held: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer.body) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (!response.headersSent) held.push(bytes);
    else if (!response.write(bytes)) await once(response, 'drain', { signal });
    if (!response.headersSent && size > maxHeldBytes) {
      response.writeHead(answer.statusCode, responseHeaders(answer.headers));
      for (const part of held.splice(0)) response.write(part);
    }
  }
  signal.throwIfAborted();
  if (!response.headersSent)
    response.writeHead(answer.statusCode, { ...responseHeaders(answer.headers), 'content-length': size });
  response.end(Buffer.concat(held));
}
