import type { VllmMetrics } from '@skein/telemetry';
import { readBody } from './body-reader.ts';
import type { TextOptions } from './choice.ts';
import type { EngineClient } from './engine-client.ts';
import { badRequest, notFound, unavailable } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { type JsonLimits, parseJsonBody } from './json-body.ts';
import type { CommonRequest, RequestParser } from './request-schema.ts';
import type { SamplingContext } from './sampling.ts';
import type { TextCodec } from './text-codec.ts';

/** What the generating endpoints share. */
export interface Serving {
  readonly engine: EngineClient;
  readonly codec: TextCodec;
  /** Names the model answers to; the first is its own. */
  readonly modelNames: readonly string[];
  readonly maxModelLen: number;
  readonly sampling: SamplingContext;
  readonly bodyLimits: BodyLimits;
  readonly requests: RequestParser;
  /** n times the number of prompts. */
  readonly maxChoices: number;
  readonly schedulesByPriority: boolean;
  /** Data-parallel replicas behind the engine. */
  readonly numReplicas: number;
  /** Tokens that a streamed event waits for where the request does not say. */
  readonly streamInterval: number;
  /** Whether streams end with the usage whatever they ask for. */
  readonly forceIncludeUsage: boolean;
  readonly vllmMetrics: VllmMetrics;
  /** Most characters of a prompt to log; null logs none. */
  readonly logPromptChars: number | null;
  readonly draining: () => boolean;
  /** Unix milliseconds. */
  readonly now: () => number;
}

const REPLICA_HEADER = 'x-data-parallel-rank';

export interface BodyLimits extends JsonLimits {
  readonly maxBytes: number;
}

export const defaultBodyLimits: BodyLimits = { maxBytes: 10 * 1024 * 1024, maxDepth: 32, maxNodes: 250_000 };

export async function readJson(exchange: Exchange, serving: Serving): Promise<unknown> {
  if (serving.draining()) throw unavailable('The server is shutting down.');
  const { request, signal } = exchange;
  const body = await readBody(request, serving.bodyLimits.maxBytes, signal);
  return parseJsonBody(body, request.headers['content-type'], serving.bodyLimits);
}

/** @returns the name to answer with: the client's own, or the model's when it gave none. */
export function modelNameOf(request: CommonRequest, serving: Serving): string {
  const name = request.model ?? serving.modelNames[0] ?? '';
  if (!serving.modelNames.includes(name)) throw unknownModel(name);
  return name;
}

/** Where a request stands in line. Throws 400 when it asks for a place and there is none to be had. */
export function priorityOf(request: CommonRequest, serving: Serving): number {
  const priority = request.priority ?? 0;
  if (priority === 0 || serving.schedulesByPriority) return priority;
  throw badRequest(
    `body.priority: must be 0, since this server does not schedule by priority; got ${priority}.`,
    'body.priority',
  );
}

/** The data-parallel replica that a client chose with vLLM's header, or null. Throws 400 when there is none such. */
export function replicaOf({ request }: Exchange, { numReplicas }: Serving): number | null {
  const value = request.headers[REPLICA_HEADER];
  if (value === undefined) return null;
  const replica = Number(value);
  if (/^\d+$/.test(String(value)) && replica < numReplicas) return replica;
  throw badRequest(
    `${REPLICA_HEADER}: must be a whole number below ${numReplicas}, the data-parallel size; got ${JSON.stringify(value)}.`,
    REPLICA_HEADER,
  );
}

export function unknownModel(name: string): Error {
  return notFound(`The model \`${name}\` does not exist.`);
}

/** @param numLogprobs null: no logprobs of the output are asked for. */
export function textOptionsOf(request: CommonRequest, numLogprobs: number | null, serving: Serving): TextOptions {
  return {
    stops: typeof request.stop === 'string' ? [request.stop] : (request.stop ?? []),
    includeStop: request.include_stop_str_in_output ?? false,
    skipSpecialTokens: request.skip_special_tokens ?? true,
    discardOutput: false,
    wantsTokens: numLogprobs !== null || request.return_token_ids === true,
    tokensPerDelta: request.stream === true ? (request.stream_interval ?? serving.streamInterval) : 1,
  };
}

/** Only where the operator asked for it: prompts are the clients' own. */
export function logPrompt(exchange: Exchange, { logPromptChars }: Serving, prompt: unknown): void {
  if (logPromptChars !== null) exchange.log.info({ prompt: JSON.stringify(prompt).slice(0, logPromptChars) }, 'prompt');
}
