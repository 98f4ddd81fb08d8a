export { ApiKeyGuard } from './api-key.ts';
export { readBody } from './body-reader.ts';
export { anonymousClient, clientHeaders, clientOf, signClient, verifyClient } from './client-identity.ts';
export type {
  EngineClient,
  GeneratedToken,
  GenerateEvent,
  GenerateRequest,
  SamplingParams,
  TokenLogprob,
} from './engine-client.ts';
export { ApiError, errorBody, notFound, unavailable } from './errors.ts';
export { ClientGoneError, type Exchange, sendError, sendJson } from './exchange.ts';
export { type ConnectionLimits, HttpServer } from './http-server.ts';
export type { ModelCard } from './models.ts';
export type { Route } from './route-table.ts';
export type { SamplingDefaults } from './sampling.ts';
export { createOpenAIServer, type OpenAIServerOptions, type ServedModel } from './server.ts';
export { type BodyLimits, defaultBodyLimits } from './serving.ts';
export { type Readiness, statusRoutes } from './status-routes.ts';
export type { ChatMessage, Detokenizer, DetokenizerOptions, RenderChatOptions, TextCodec } from './text-codec.ts';
export { tokenizerCodec } from './tokenizer-codec.ts';
