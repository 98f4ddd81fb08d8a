/** What one request does to its logits before they are sampled, and how it is packed into a step's input.
 *  `native/src/core/logit_rules.h` mirrors this file, same names and order.
 *
 *  A record: slot, presencePenalty f32, frequencyPenalty f32, repetitionPenalty f32, minTokens, then the counts numPromptIds,
 *  numOutputIds, numStopIds, numBiases, numAllowedIds, numBadWordWords, numLogprobIds, then
 *    promptIds, outputIds, stopIds, biasIds, biasValues f32 (one per bias id), allowedIds, badWords (runs of a length and that
 *    many ids), logprobIds */

export interface LogitRules {
  /** Subtracted from the logits of tokens that the output has: once, and per occurrence. */
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** Divides a positive, multiplies a negative logit of tokens that prompt or output have. 1 is off. */
  readonly repetitionPenalty: number;
  /** Outputs before which none of `stopIds` may be sampled. */
  readonly minTokens: number;
  /** Tokens of the prompt, each once; empty where no repetition penalty asks for them. */
  readonly promptIds: readonly number[];
  readonly stopIds: readonly number[];
  /** Added to a token's logit. Each id once. */
  readonly biases: readonly { readonly tokenId: number; readonly value: number }[];
  /** The only ones that may be sampled, rising; empty: all. */
  readonly allowedIds: readonly number[];
  /** Runs of tokens that the output may not contain, none empty. */
  readonly badWords: readonly (readonly number[])[];
  /** Tokens whose logprobs a row reports, in this order, in place of the likeliest; at most as many as it reports. */
  readonly logprobIds: readonly number[];
}

/** Rules as a step brings them: from this step on they hold for the rows of `slot` that are ruled, and count the tokens
 *  sampled there. They go with a request's first row in a slot, and stand until others take their place. */
export interface SlotRules {
  readonly slot: number;
  readonly rules: LogitRules;
  /** What the request has sampled so far, in order. */
  readonly outputIds: readonly number[];
}

const HEADER_WORDS = 12;

/** Words of a record for rules with `numOutputIds` outputs. */
export function logitRulesWords(rules: LogitRules, numOutputIds: number): number {
  const { promptIds, stopIds, biases, allowedIds, logprobIds } = rules;
  const lists = promptIds.length + stopIds.length + 2 * biases.length + allowedIds.length + logprobIds.length;
  return HEADER_WORDS + numOutputIds + lists + badWordWords(rules);
}

/** Writes a record at `at`. @returns the position after it. */
export function putSlotRules(words: Int32Array, at: number, { slot, rules, outputIds }: SlotRules): number {
  const floats = new Float32Array(words.buffer);
  const { promptIds, stopIds, biases, allowedIds, badWords, logprobIds } = rules;
  words[at] = slot;
  floats[at + 1] = rules.presencePenalty;
  floats[at + 2] = rules.frequencyPenalty;
  floats[at + 3] = rules.repetitionPenalty;
  words[at + 4] = rules.minTokens;
  words.set([promptIds.length, outputIds.length, stopIds.length, biases.length, allowedIds.length], at + 5);
  words.set([badWordWords(rules), logprobIds.length], at + 10);
  let next = at + HEADER_WORDS;
  const put = (values: readonly number[]): void => {
    words.set(values, next);
    next += values.length;
  };
  put(promptIds);
  put(outputIds);
  put(stopIds);
  put(biases.map((b) => b.tokenId));
  for (const { value } of biases) floats[next++] = value;
  put(allowedIds);
  for (const ids of badWords) put([ids.length, ...ids]);
  put(logprobIds);
  return next;
}

function badWordWords({ badWords }: LogitRules): number {
  return badWords.reduce((n, ids) => n + 1 + ids.length, 0);
}
