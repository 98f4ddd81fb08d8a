import type { LogitRules as NativeLogitRules } from '@skein/native';

/** What goes into the engine and what comes out: token ids only. Structurally the OpenAI server's EngineClient types. */

export interface SamplingParams {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: bigint;
  readonly choice: number;
  /** At least 1; capped so that prompt and output fit the model's length and the KV pool. */
  readonly maxTokens: number;
  /** Ends the request; the stop token is the last one delivered. */
  readonly stopTokenIds: readonly number[];
  /** Those of stopTokenIds that came from the model: then there is no stopReason. */
  readonly eosTokenIds: readonly number[];
  /** null: none; k: logprob of each token and of the k likeliest. */
  readonly numLogprobs: number | null;
  readonly numPromptLogprobs: number | null;
  /** null: the logits are sampled as they are. */
  readonly logitRules: LogitRules | null;
  readonly repetitionDetection: RepetitionDetection | null;
}

/** The likeliest tokens as they come, with no stop but the length. */
export const greedySampling: Omit<SamplingParams, 'maxTokens'> = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0n,
  choice: 0,
  stopTokenIds: [],
  eosTokenIds: [],
  numLogprobs: null,
  numPromptLogprobs: null,
  logitRules: null,
  repetitionDetection: null,
};

/** Ends a text that goes round in circles. */
export interface RepetitionDetection {
  /** Tokens of a pattern, at least and at most. */
  readonly minPatternSize: number;
  readonly maxPatternSize: number;
  /** How often it must stand at the end of the output; at least 2. */
  readonly minCount: number;
}

/** Penalties, biases and forbidden tokens. What they need to know of the prompt the engine adds. */
export type LogitRules = Omit<NativeLogitRules, 'promptIds'>;

export interface GenerateRequest {
  /** Unique among the requests in the engine. */
  readonly requestId: string;
  readonly promptTokenIds: readonly number[];
  readonly sampling: SamplingParams;
  /** Who asks. Cached prefixes are shared within a client, never between clients. */
  readonly client: string;
  /** Narrows sharing further, to requests of the client with the same salt. */
  readonly cacheSalt?: string | null;
  /** Lower goes first, under the policy `priority`; 0 by default. */
  readonly priority?: number;
}

export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

export interface GeneratedToken {
  readonly tokenId: number;
  readonly logprob: number | null;
  readonly rank: number | null;
  readonly top: readonly TokenLogprob[];
}

export type FinishReason = 'stop' | 'length' | 'repetition';

export interface GenerateEvent {
  readonly tokens: readonly GeneratedToken[];
  /** On the first event when asked for: one entry per prompt position; the first is null. */
  readonly promptLogprobs: readonly (GeneratedToken | null)[] | null;
  /** Set on the last event, and only there. */
  readonly finishReason: FinishReason | null;
  /** The stop token id when one of the request's own stop tokens ended it. */
  readonly stopReason: number | null;
  /** Prompt tokens that came out of the prefix cache. */
  readonly numCachedTokens: number;
}
