import type { LogitRules } from './engine-client.ts';
import { badRequest, invalidBody } from './errors.ts';
import type { CommonRequest } from './request-schema.ts';
import type { SamplingContext } from './sampling.ts';
import type { TextCodec } from './text-codec.ts';

/** What the request asks for beside temperature and truncation; null when that is nothing, so that it is sampled without a
 *  second look. Throws 400 for ids outside the vocabulary. */
export async function logitRulesOf(
  request: CommonRequest,
  context: SamplingContext,
  codec: TextCodec,
): Promise<LogitRules | null> {
  const { vocabSize, eosTokenIds } = context;
  const stops = request.stop_token_ids ?? [];
  const biases = Object.entries(request.logit_bias ?? {}).map(([id, value]) => ({ tokenId: Number(id), value }));
  const allowedIds = [...new Set(request.allowed_token_ids)].sort((a, b) => a - b);
  checkIds('stop_token_ids', stops, vocabSize);
  checkIds('logit_bias', Object.keys(request.logit_bias ?? {}).map(Number), vocabSize);
  checkIds('allowed_token_ids', allowedIds, vocabSize);
  const logprobIds = request.logprob_token_ids ?? [];
  checkIds('logprob_token_ids', logprobIds, vocabSize);
  const minTokens = request.min_tokens ?? 0;
  const rules: LogitRules = {
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    repetitionPenalty: request.repetition_penalty ?? context.defaults.repetitionPenalty ?? 1,
    minTokens,
    // Also with ignore_eos: before min_tokens the model is kept from ending its text, whoever would notice.
    stopIds: minTokens === 0 ? [] : [...new Set([...eosTokenIds, ...stops])].filter((id) => id < vocabSize),
    biases: biases.filter((b) => b.value !== 0),
    allowedIds,
    badWords: await badWordsOf(request.bad_words ?? [], codec),
    logprobIds,
  };
  return isNeutral(rules) ? null : rules;
}

function isNeutral(rules: LogitRules): boolean {
  const { presencePenalty, frequencyPenalty, repetitionPenalty, minTokens, ...lists } = rules;
  if (presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1 || minTokens !== 0) return false;
  return Object.values(lists).every((list) => list.length === 0);
}

function checkIds(field: string, ids: readonly number[], vocabSize: number): void {
  const outside = ids.find((id) => id >= vocabSize);
  if (outside === undefined) return;
  throw badRequest(`body.${field}: token id ${outside} is outside the vocabulary of ${vocabSize}.`, `body.${field}`);
}

/** A word as it is spelt at the beginning of a text and after a blank, as vLLM forbids it: the second spelling counts where it
 *  begins with another token and is as long, which makes it the same word in mid-text. */
async function badWordsOf(words: readonly string[], codec: TextCodec): Promise<readonly (readonly number[])[]> {
  const spellings = await Promise.all(
    words.map(async (given) => {
      const word = given.trimStart();
      if (word === '') throw invalidBody('body.bad_words: a word must hold more than blanks.', 'body.bad_words');
      const options = { addSpecialTokens: false };
      const [bare, spaced] = await Promise.all([
        codec.encodeText(word, options),
        codec.encodeText(` ${word}`, options),
      ]);
      return spaced[0] !== bare[0] && spaced.length === bare.length ? [bare, spaced] : [bare];
    }),
  );
  return spellings.flat().filter((ids) => ids.length > 0);
}
