import type { TraceHeaders } from '@skein/telemetry';

/** What the OpenAI server needs of an engine. Owned here; the leader agent implements it. Token ids only: text, chat
 *  templates and stop strings are this package's business. */
export interface EngineClient {
  /** Runs one choice of a request to its end. Leaving the loop, or aborting `signal`, cancels the work in every stage. The
   *  last event has a finishReason. Throws EngineError: code ERR_OVERLOADED (429/503), ERR_ENGINE_LOST, ERR_DRAINING,
   *  ERR_PROMPT_TOO_LONG (400), ERR_INTERNAL. */
  generate(request: GenerateRequest, signal: AbortSignal): AsyncIterable<GenerateEvent>;
}

export interface GenerateRequest {
  /** Unique per choice: '<request id>-<choice>'. */
  readonly requestId: string;
  readonly promptTokenIds: readonly number[];
  readonly sampling: SamplingParams;
  /** Who asks: an opaque tenant id (hash of the API key) or 'anonymous'. */
  readonly client: string;
  /** Narrows who shares cached prefixes, beyond the client. */
  readonly cacheSalt: string | null;
  /** The data-parallel replica that is to compute it; null for any. */
  readonly replica: number | null;
  /** Lower goes first, where the engine schedules by priority. */
  readonly priority: number;
  /** Of the trace that this belongs to; absent when there is none. */
  readonly traceHeaders?: TraceHeaders;
}

export interface SamplingParams {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  /** Drawn by the leader when the request brings none. */
  readonly seed: bigint;
  readonly choice: number;
  readonly maxTokens: number;
  /** Ends the choice; includes the model's eos ids unless ignoreEos. The stop token is the last one delivered. */
  readonly stopTokenIds: readonly number[];
  /** Subset of stopTokenIds that came from the model: then finish reason has no stopReason. */
  readonly eosTokenIds: readonly number[];
  /** null: none; k: logprob of each token and of the k likeliest. */
  readonly numLogprobs: number | null;
  readonly numPromptLogprobs: number | null;
  /** null: the logits are sampled as they are. */
  readonly logitRules: LogitRules | null;
  readonly repetitionDetection: RepetitionDetection | null;
}

/** Ends a text that goes round in circles. */
export interface RepetitionDetection {
  /** Tokens of a pattern, at least and at most. */
  readonly minPatternSize: number;
  readonly maxPatternSize: number;
  /** How often it must stand at the end of the output; at least 2. */
  readonly minCount: number;
}

/** What a request does to its logits, in token ids. Each is a function of the request's own tokens. */
export interface LogitRules {
  /** Subtracted from the logits of tokens that the output has: once, and per occurrence. */
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** Divides a positive, multiplies a negative logit of tokens that prompt or output have. 1 is off. */
  readonly repetitionPenalty: number;
  /** Outputs before which none of `stopIds` may be sampled. */
  readonly minTokens: number;
  readonly stopIds: readonly number[];
  /** Added to a token's logit. Each id once. */
  readonly biases: readonly { readonly tokenId: number; readonly value: number }[];
  /** The only ones that may be sampled, rising; empty: all. */
  readonly allowedIds: readonly number[];
  /** Runs of tokens that the output may not contain, none empty. */
  readonly badWords: readonly (readonly number[])[];
  /** Tokens whose logprobs are reported, in this order, in place of the likeliest; numLogprobs is their number. */
  readonly logprobIds: readonly number[];
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
  readonly finishReason: FinishReason | null;
  /** The stop token id when one of the request's own stop_token_ids ended it. */
  readonly stopReason: number | null;
  /** Prompt tokens that came out of the prefix cache; the same in every event. */
  readonly numCachedTokens: number;
}
