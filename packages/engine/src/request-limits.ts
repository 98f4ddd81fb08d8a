import { EngineError } from './errors.ts';
import type { LogitRules } from './generate.ts';
import type { Request } from './request.ts';

/** What an executor can hold; an Executor is one. */
export interface SchedulerCapacity {
  readonly numStages: number;
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly maxModelLen: number;
  readonly maxLogprobs: number;
}

/** Tokens, prompt and output together, that one request may reach: the model's length, or the whole pool if that is less. */
export function maxRequestTokens(capacity: SchedulerCapacity): number {
  return Math.min(capacity.maxModelLen, capacity.numBlocks * capacity.blockSize);
}

/** Caps the request's output at what the executor can hold. @returns why it can never run there, or null. */
export function checkRequest(request: Request, capacity: SchedulerCapacity): EngineError | null {
  const maxTokens = maxRequestTokens(capacity);
  const numTokens = request.tokenIds.length;
  if (numTokens >= maxTokens) {
    const { maxModelLen, numBlocks, blockSize } = capacity;
    const what = `${request.numPromptTokens} prompt and ${numTokens - request.numPromptTokens} output tokens`;
    // With outputs, the request fitted the executor before this one.
    const code = numTokens > request.numPromptTokens ? 'ERR_ENGINE_LOST' : 'ERR_PROMPT_TOO_LONG';
    return new EngineError(
      code,
      `${what} leave no room for another: the model takes ${maxModelLen} and the KV pool ${numBlocks * blockSize} tokens (${numBlocks} blocks of ${blockSize})`,
      { details: { numPromptTokens: request.numPromptTokens, numTokens, maxModelLen, numBlocks, blockSize } },
    );
  }
  const { numLogprobs: ofOutput, numPromptLogprobs, logitRules } = request.sampling;
  const numLogprobs = Math.max(ofOutput ?? 0, numPromptLogprobs ?? 0, logitRules?.logprobIds.length ?? 0);
  if (numLogprobs > capacity.maxLogprobs) {
    const details = { numLogprobs, maxLogprobs: capacity.maxLogprobs };
    return new EngineError(
      'ERR_INVALID_REQUEST',
      `${numLogprobs} logprobs a token were asked for, ${capacity.maxLogprobs} can be had`,
      { details },
    );
  }
  request.maxTokens = Math.min(request.sampling.maxTokens, maxTokens - request.numPromptTokens);
  return null;
}

/** @throws EngineError ERR_INVALID_REQUEST for what no executor could run. A value that only a rank would choke on costs
 *  everyone's step, so it ends here. */
export function checkFields(request: Request): void {
  const { sampling: s } = request;
  const wrong =
    (request.numPromptTokens === 0 && 'the prompt is empty') ||
    (!request.tokenIds.every((id) => Number.isInteger(id) && id >= 0) &&
      'a prompt token id is not a whole number of at least 0') ||
    (!(Number.isInteger(s.maxTokens) && s.maxTokens >= 1) && `maxTokens is ${s.maxTokens}; at least 1`) ||
    (!(s.temperature >= 0 && s.temperature < Infinity) && `temperature is ${s.temperature}; at least 0`) ||
    (!(Number.isInteger(s.topK) && s.topK >= 0 && s.topK < 2 ** 31) &&
      `topK is ${s.topK}; a whole number of at least 0`) ||
    (!(s.topP > 0 && s.topP <= 1) && `topP is ${s.topP}; above 0, at most 1`) ||
    (!(s.minP >= 0 && s.minP <= 1) && `minP is ${s.minP}; from 0 to 1`) ||
    (!(Number.isInteger(s.choice) && s.choice >= 0) && `choice is ${s.choice}; a whole number of at least 0`) ||
    (!Number.isInteger(request.priority) && `priority is ${request.priority}; a whole number`) ||
    (![s.numLogprobs, s.numPromptLogprobs].every((k) => k === null || (Number.isInteger(k) && k >= 0)) &&
      'a number of logprobs is not a whole number of at least 0');
  const wrongRule = wrong || wrongLogitRule(s.logitRules);
  if (wrongRule) throw new EngineError('ERR_INVALID_REQUEST', wrongRule, { details: { requestId: request.id } });
}

function wrongLogitRule(rules: LogitRules | null): string | null {
  if (rules === null) return null;
  const isId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < 2 ** 31;
  const penalties = { presencePenalty: rules.presencePenalty, frequencyPenalty: rules.frequencyPenalty };
  for (const [name, value] of Object.entries(penalties))
    if (!(Math.abs(value) <= 1000)) return `${name} is ${value}; from -1000 to 1000`;
  const { repetitionPenalty, minTokens, stopIds, biases, allowedIds, badWords, logprobIds } = rules;
  if (!(repetitionPenalty >= 1e-3 && repetitionPenalty <= 1000))
    return `repetitionPenalty is ${repetitionPenalty}; from 0.001 to 1000`;
  if (!isId(minTokens)) return `minTokens is ${minTokens}; a whole number of at least 0`;
  const ids = [stopIds, biases.map((b) => b.tokenId), allowedIds, logprobIds, ...badWords].flat();
  const wrongId = ids.find((id) => !isId(id));
  if (wrongId !== undefined) return `token id ${wrongId} of a logit rule is not a whole number of at least 0`;
  if (!biases.every(({ value }) => Math.abs(value) <= 1000)) return 'a bias is not from -1000 to 1000';
  if (!allowedIds.every((id, i) => i === 0 || id > (allowedIds[i - 1] ?? id))) return 'allowedIds do not rise';
  return badWords.every((word) => word.length > 0) ? null : 'a bad word has no token';
}
