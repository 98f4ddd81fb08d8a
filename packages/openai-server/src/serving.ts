import type { VllmMetrics } from '@skein/telemetry';
import { readBody } from './body-reader.ts';
import type { EngineClient } from './engine-client.ts';
import { notFound, unavailable } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { type JsonLimits, parseJsonBody } from './json-body.ts';
import type { CommonRequest } from './requests.ts';
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
  /** n times the number of prompts. */
  readonly maxChoices: number;
  readonly vllmMetrics: VllmMetrics;
  readonly draining: () => boolean;
  /** Unix milliseconds. */
  readonly now: () => number;
}

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

export function unknownModel(name: string): Error {
  return notFound(`The model \`${name}\` does not exist.`);
}

export function stopsOf(request: CommonRequest): readonly string[] {
  return typeof request.stop === 'string' ? [request.stop] : (request.stop ?? []);
}
