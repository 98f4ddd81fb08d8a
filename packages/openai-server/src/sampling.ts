import type { LogitRules, RepetitionDetection, SamplingParams } from './engine-client.ts';
import { badRequest } from './errors.ts';
import type { CommonRequest } from './request-schema.ts';

/** What a request gets when it names nothing: the checkpoint's generation_config.json; null where it is silent. */
export interface SamplingDefaults {
  readonly temperature: number | null;
  readonly topK: number | null;
  readonly topP: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly maxNewTokens: number | null;
}

export interface SamplingContext {
  readonly defaults: SamplingDefaults;
  readonly eosTokenIds: readonly number[];
  readonly vocabSize: number;
  /** Draws a seed when the request brings none. */
  readonly randomSeed: () => bigint;
}

/** The parts of the sampling parameters that all choices of a request share. */
export type SharedSampling = Omit<SamplingParams, 'choice' | 'maxTokens'>;

export function sharedSampling(
  request: CommonRequest,
  own: Pick<SamplingParams, 'numLogprobs' | 'numPromptLogprobs'> & { readonly logitRules: LogitRules | null },
  context: SamplingContext,
): SharedSampling {
  const { defaults, eosTokenIds } = context;
  const temperature = request.temperature ?? defaults.temperature ?? 1;
  if (temperature === 0 && (request.n ?? 1) > 1) {
    throw badRequest(`n must be 1 when using greedy sampling, got ${request.n}.`, 'body.n');
  }
  const eos = request.ignore_eos === true ? [] : eosTokenIds;
  return {
    temperature,
    topK: Math.max(request.top_k ?? defaults.topK ?? 0, 0),
    topP: request.top_p ?? defaults.topP ?? 1,
    minP: request.min_p ?? defaults.minP ?? 0,
    seed: request.seed == null ? context.randomSeed() : BigInt.asUintN(64, BigInt(request.seed)),
    stopTokenIds: [...new Set([...eos, ...(request.stop_token_ids ?? [])])],
    eosTokenIds: eos,
    repetitionDetection: repetitionDetectionOf(request),
    ...own,
  };
}

function repetitionDetectionOf({ repetition_detection: asked }: CommonRequest): RepetitionDetection | null {
  const maxPatternSize = asked?.max_pattern_size ?? 0;
  const minPatternSize = Math.max(asked?.min_pattern_size ?? 0, 1);
  return maxPatternSize === 0 ? null : { minPatternSize, maxPatternSize, minCount: asked?.min_count ?? 0 };
}

export interface OutputLimits {
  readonly maxModelLen: number;
  /** The client's own word: refused when it does not fit. */
  readonly asked: number | null;
  /** Where the client says nothing: cut to fit. */
  readonly fallback: number | null;
  /** The fields to blame, as errors name them: `body.<field>`. */
  readonly promptParam: string;
  readonly askedParam: string;
}

/** How many tokens a choice may have. Throws 400 with the numbers when prompt and output cannot fit the model. */
export function maxTokensFor(numPromptTokens: number, limits: OutputLimits): number {
  const { maxModelLen, asked, fallback } = limits;
  const room = maxModelLen - numPromptTokens;
  const context = `This model's maximum context length is ${maxModelLen} tokens.`;
  if (room < 1) {
    throw badRequest(
      `${context} However, your prompt has ${numPromptTokens} tokens, which leaves no room for output.`,
      limits.promptParam,
    );
  }
  if (asked !== null && asked > room) {
    throw badRequest(
      `${context} However, you requested ${numPromptTokens + asked} tokens (${numPromptTokens} in the prompt, ${asked} in the completion).`,
      limits.askedParam,
    );
  }
  return asked ?? Math.min(fallback ?? room, room);
}
