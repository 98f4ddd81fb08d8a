import type { LogitRules, StepOutputRow } from '@skein/native';
import type { FinishReason, GeneratedToken, GenerateRequest, SamplingParams } from '../generate.ts';
import { Request } from '../request.ts';

export const TOY_VOCAB = 64;

type Noise = Pick<SamplingParams, 'temperature' | 'topK' | 'topP' | 'minP' | 'seed' | 'choice'>;

/** Logit rules and the outputs they count. */
export interface ToyRules {
  readonly rules: LogitRules;
  readonly outputIds: readonly number[];
}

/** A "model" whose next token is a hash of the whole context, and of everything a sampling row may depend on. */
export function toyNext(
  context: readonly number[],
  noise: Noise,
  position: number,
  ruled: ToyRules | null = null,
): number {
  const h = hash([...context, ...(ruled === null ? [] : [-1, ...ruledBy(ruled)])]);
  if (noise.temperature === 0) return h % TOY_VOCAB;
  const parts = [
    noise.temperature * 100,
    noise.topK,
    noise.topP * 100,
    noise.minP * 100,
    Number(noise.seed & 0xffffffn),
    noise.choice,
    position,
  ];
  return hash([h, ...parts]) % TOY_VOCAB;
}

/** As `repetition_detection` has it, by cutting the end of the text into pieces. */
function goesRound(outputIds: readonly number[], { repetitionDetection, logitRules }: SamplingParams): boolean {
  if (repetitionDetection === null || outputIds.length < (logitRules?.minTokens ?? 0)) return false;
  const { minPatternSize, maxPatternSize, minCount } = repetitionDetection;
  for (let size = minPatternSize; size <= maxPatternSize; size++) {
    const piece = (i: number): string =>
      outputIds.slice(outputIds.length - (i + 1) * size, outputIds.length - i * size).join();
    const pieces = Array.from({ length: minCount }, (_, i) => piece(i));
    if (size * minCount <= outputIds.length && new Set(pieces).size === 1) return true;
  }
  return false;
}

function ruledBy({ rules, outputIds }: ToyRules): number[] {
  const { promptIds, stopIds, biases, allowedIds, badWords, logprobIds, ...numbers } = rules;
  const lists = [
    promptIds,
    stopIds,
    biases.flatMap((b) => [b.tokenId, b.value]),
    allowedIds,
    badWords.flat(),
    logprobIds,
    outputIds,
  ];
  return [...Object.values(numbers).map((x) => x * 100), ...lists.flatMap((list) => [list.length, ...list])];
}

/** What the toy answers for `tokenId` after `context`. */
export function toyRow(context: readonly number[], tokenId: number, numLogprobs: number | null): StepOutputRow {
  if (numLogprobs === null) return { tokenId, logprob: null, rank: null, top: [] };
  const h = hash([...context, tokenId]);
  const top = Array.from({ length: numLogprobs }, (_, i) => ({
    tokenId: (h + i) % TOY_VOCAB,
    logprob: -i - (h % 100) / 100,
  }));
  return { tokenId, logprob: -(h % 1000) / 100, rank: 1 + (h % 9), top };
}

export interface ToyAnswer {
  readonly tokens: GeneratedToken[];
  readonly promptLogprobs: (GeneratedToken | null)[] | null;
  readonly finishReason: FinishReason;
  readonly stopReason: number | null;
}

/** What the request yields when it is computed alone, with no engine at all. */
export function toyAnswer(request: GenerateRequest, maxTotalTokens: number): ToyAnswer {
  const { sampling: s, promptTokenIds: prompt } = request;
  const context = [...prompt];
  const tokens: GeneratedToken[] = [];
  const k = s.numPromptLogprobs;
  const promptLogprobs =
    k === null ? null : prompt.map((id, i) => (i === 0 ? null : toyRow(prompt.slice(0, i), id, k)));
  const maxTokens = Math.min(s.maxTokens, maxTotalTokens - prompt.length);
  const rules = new Request(request, 0).logitRules;
  while (tokens.length < maxTokens) {
    const outputIds = context.slice(prompt.length);
    const id = toyNext(context, s, tokens.length, rules && { rules, outputIds });
    tokens.push(toyRow(context, id, s.numLogprobs));
    context.push(id);
    if (s.stopTokenIds.includes(id))
      return { tokens, promptLogprobs, finishReason: 'stop', stopReason: s.eosTokenIds.includes(id) ? null : id };
    if (tokens.length < maxTokens && goesRound(context.slice(prompt.length), s))
      return { tokens, promptLogprobs, finishReason: 'repetition', stopReason: null };
  }
  return { tokens, promptLogprobs, finishReason: 'length', stopReason: null };
}

function hash(values: readonly number[]): number {
  let h = 0x811c9dc5;
  for (const v of values) h = Math.imul(h ^ Math.trunc(v), 0x01000193) ^ (h >>> 13);
  return (h ^ (h >>> 16)) >>> 0;
}
