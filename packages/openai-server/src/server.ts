import { randomBytes } from 'node:crypto';
import type { Experts, Topology } from '@skein/protocol';
import { type Logger, type Metrics, type Tracing, VllmMetrics } from '@skein/telemetry';
import { ApiKeyGuard } from './api-key.ts';
import { chatCompletions } from './chat-completions.ts';
import { completions } from './completions.ts';
import type { EngineClient } from './engine-client.ts';
import { sendJson } from './exchange.ts';
import { type ConnectionLimits, HttpServer } from './http-server.ts';
import { modelCards } from './models.ts';
import { defaultRequestBounds } from './request-fields.ts';
import { RequestParser } from './request-schema.ts';
import type { Route } from './route-table.ts';
import type { SamplingDefaults } from './sampling.ts';
import { type BodyLimits, defaultBodyLimits, type Serving, unknownModel } from './serving.ts';
import { type Readiness, statusRoutes } from './status-routes.ts';
import type { TextCodec } from './text-codec.ts';

export interface OpenAIServerOptions {
  readonly engine: EngineClient;
  readonly codec: TextCodec;
  readonly model: ServedModel;
  /** Sampling where a request names nothing: the checkpoint's generation_config.json. */
  readonly defaults?: Partial<SamplingDefaults>;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** The engine's metrics; given by whoever also feeds them. */
  readonly vllmMetrics?: VllmMetrics;
  /** Before each scrape: set gauges. */
  readonly onScrape?: () => void | Promise<void>;
  /** Most characters of each prompt to log. Default null: prompts are not logged. */
  readonly logPromptChars?: number | null;
  /** Makes spans of requests; the caller's to close. */
  readonly tracing?: Tracing | null;
  readonly version: string;
  readonly isReady: () => Readiness;
  /** The body of GET /v1/skein/topology. */
  readonly topology: () => Topology | Promise<Topology>;
  /** The body of GET /v1/skein/experts. */
  readonly experts: () => Experts | Promise<Experts>;
  /** Without keys everybody may ask. */
  readonly apiKeys?: readonly string[];
  readonly guardMetrics?: boolean;
  /** False logs each request at debug. Default true. */
  readonly logRequests?: boolean;
  /** With it a router's word on who asks is believed. */
  readonly groupKey?: string | null;
  readonly bodyLimits?: Partial<BodyLimits>;
  readonly connectionLimits?: Partial<ConnectionLimits>;
  readonly maxChoices?: number;
  /** Most logprobs that a request may ask for at each position; at most what the engine gives. Default: vLLM's. */
  readonly maxLogprobs?: number;
  /** Whether the engine looks at `priority`; without it a request that sets one is refused. */
  readonly schedulesByPriority?: boolean;
  /** Data-parallel replicas behind the engine. Default 1. */
  readonly numReplicas?: number;
  /** Tokens that a streamed event waits for where the request does not say. Default 1. */
  readonly streamInterval?: number;
  /** Ends every stream with the usage, asked for or not. Default false. */
  readonly forceIncludeUsage?: boolean;
  readonly randomSeed?: () => bigint;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

export interface ServedModel {
  /** Names it answers to; the first is its own. At least one. */
  readonly names: readonly string[];
  readonly maxModelLen: number;
  readonly eosTokenIds: readonly number[];
  /** Ids it has logits for, should its tokenizer know of more. */
  readonly vocabSize?: number;
}

/** A plain vLLM-compatible server over an EngineClient: listen, then drain or close once. */
export function createOpenAIServer(options: OpenAIServerOptions): HttpServer {
  const { engine, codec, model, metrics, log } = options;
  const now = options.now ?? Date.now;
  const draining = (): boolean => server.draining;
  const serving: Serving = {
    engine,
    codec,
    modelNames: model.names,
    maxModelLen: model.maxModelLen,
    sampling: {
      defaults: {
        temperature: null,
        topK: null,
        topP: null,
        minP: null,
        repetitionPenalty: null,
        maxNewTokens: null,
        ...options.defaults,
      },
      eosTokenIds: model.eosTokenIds,
      vocabSize: Math.min(codec.vocabSize, model.vocabSize ?? Infinity),
      randomSeed: options.randomSeed ?? (() => randomBytes(8).readBigUInt64LE()),
    },
    bodyLimits: { ...defaultBodyLimits, ...options.bodyLimits },
    requests: new RequestParser({ maxLogprobs: options.maxLogprobs ?? defaultRequestBounds.maxLogprobs }),
    maxChoices: options.maxChoices ?? 512,
    schedulesByPriority: options.schedulesByPriority ?? false,
    numReplicas: options.numReplicas ?? 1,
    streamInterval: options.streamInterval ?? 1,
    forceIncludeUsage: options.forceIncludeUsage ?? false,
    vllmMetrics: options.vllmMetrics ?? new VllmMetrics(metrics, { modelName: model.names[0] ?? '' }),
    logPromptChars: options.logPromptChars ?? null,
    draining,
    now,
  };
  const server = new HttpServer({
    routes: [
      ...generationRoutes(serving, Math.floor(now() / 1000)),
      ...statusRoutes({
        isReady: options.isReady,
        draining,
        metrics,
        onScrape: options.onScrape ?? (() => {}),
        guardMetrics: options.guardMetrics ?? false,
        version: options.version,
        topology: options.topology,
        experts: options.experts,
      }),
    ],
    guard: new ApiKeyGuard(options.apiKeys ?? []),
    groupKey: options.groupKey ?? null,
    log,
    metrics,
    logRequests: options.logRequests ?? true,
    tracing: options.tracing ?? null,
    ...(options.connectionLimits === undefined ? {} : { limits: options.connectionLimits }),
  });
  return server;
}

function generationRoutes(serving: Serving, created: number): Route[] {
  const cards = modelCards(serving.modelNames, { maxModelLen: serving.maxModelLen, created });
  return [
    { method: 'POST', path: '/v1/chat/completions', handle: (exchange) => chatCompletions(exchange, serving) },
    { method: 'POST', path: '/v1/completions', handle: (exchange) => completions(exchange, serving) },
    {
      method: 'GET',
      path: '/v1/models',
      handle: ({ response }) => sendJson(response, 200, { object: 'list', data: cards }),
    },
    {
      method: 'GET',
      path: '/v1/models/*',
      handle: ({ response, rest }) => {
        const card = cards.find(({ id }) => id === rest);
        if (card === undefined) throw unknownModel(rest.slice(0, 500));
        sendJson(response, 200, card);
      },
    },
  ];
}
