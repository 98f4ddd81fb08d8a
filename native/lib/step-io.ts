/** The step's packed input and output: one flat array of little-endian i32 words each, so that a device backend can copy
 *  it in one transfer. `native/src/core/step_io.h` mirrors this file, same names and order.
 *
 *  Input words: HEADER (16 words: magic 0x536b4e31, version 2, step low, step high, numTokens, numSeqs, numBlockIds, numRows,
 *  maxLogprobs, feedbackStep low, feedbackStep high, numRules, numRuleWords, numSources, 2 zero) then, in this order:
 *    tokenIds[numTokens]      id, or -1-slot for an id this rank's feedback slot holds
 *    queryStart[numSeqs+1]    first token row of each sequence; the last entry is numTokens
 *    numComputedTokens[numSeqs]  context already in the cache; token j of the sequence has position numComputed+j
 *    blockStart[numSeqs+1]    first entry of each sequence's block table in blockIds; the last entry is numBlockIds
 *    blockIds[numBlockIds]    block tables, concatenated; each covers at least numComputed + queryLen positions
 *    rowToken[numRows]        token row whose logits are wanted
 *    rowTarget[numRows]       -1: sample; else a token id to score instead
 *    rowSlot[numRows]         feedback slot that receives the sampled id, or -1
 *    rowTemperature f32, rowTopK (0 = off), rowTopP f32, rowMinP f32 [numRows]   temperature 0 is greedy
 *    rowSeedLow, rowSeedHigh, rowChoice, rowPosition [numRows]   sampling noise is a function of these four
 *    rowNumLogprobs[numRows]  -1: none; k >= 0: the id's logprob and rank, and the k likeliest (k <= maxLogprobs)
 *    rowRuled[numRows]        1: the logit rules of rowSlot apply, and count the sampled token; rowPosition is the number of
 *                             outputs they know of. 0: the slot's rules, if it has any, are another request's of old
 *    ruleStart[numRules+1]    first word of each record in ruleWords; the last entry is numRuleWords
 *    ruleWords[numRuleWords]  logit rules that slots get before this step samples (logit-rules.ts)
 *    sourceTokens[numSources] tokens of each source of a spread `experts` op in this step, this rank's own included; a program
 *                             without one makes nothing of them
 *
 *  Output words: numRows, maxLogprobs, then tokenIds[numRows], logprobs f32[numRows], ranks[numRows] (1 is the likeliest; 0
 *  when not asked for), topIds[numRows*maxLogprobs] (-1 pads), topLogprobs f32[numRows*maxLogprobs].
 *  Logprobs are of the unmodified logits (log-softmax before temperature and truncation). */

import { logitRulesWords, putSlotRules, type SlotRules } from './logit-rules.ts';

export const STEP_INPUT_MAGIC = 0x536b4e31;
export const STEP_INPUT_HEADER_WORDS = 16;

export interface StepRow {
  readonly token: number;
  readonly target: number | null;
  readonly slot: number | null;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: bigint;
  readonly choice: number;
  readonly position: number;
  readonly numLogprobs: number | null;
  readonly ruled: boolean;
}

/** A row that takes the likeliest token and asks for nothing else. */
export const GREEDY_ROW: Omit<StepRow, 'token'> = {
  target: null,
  slot: null,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0n,
  choice: 0,
  position: 0,
  numLogprobs: null,
  ruled: false,
};

export interface StepSequence {
  /** Token ids to compute; a negative one is `feedbackToken(slot)`. */
  readonly tokenIds: readonly number[];
  readonly numComputedTokens: number;
  readonly blockIds: readonly number[];
}

export interface StepInput {
  readonly step: number;
  /** The step whose sampled ids must have been stored before this one starts; -1 for none. */
  readonly feedbackStep: number;
  readonly sequences: readonly StepSequence[];
  /** `token` of a row counts over the concatenated tokens of all sequences. */
  readonly rows: readonly StepRow[];
  readonly maxLogprobs: number;
  readonly rules: readonly SlotRules[];
  /** Tokens of each source whose experts this program shares; none where it shares with ranks of one source alone. */
  readonly sourceTokens?: readonly number[];
}

export interface StepOutputRow {
  readonly tokenId: number;
  readonly logprob: number | null;
  readonly rank: number | null;
  readonly top: readonly { readonly tokenId: number; readonly logprob: number }[];
}

export function feedbackToken(slot: number): number {
  return -1 - slot;
}

export function packStepInput(input: StepInput): Int32Array {
  const numTokens = input.sequences.reduce((n, s) => n + s.tokenIds.length, 0);
  const numBlockIds = input.sequences.reduce((n, s) => n + s.blockIds.length, 0);
  const numSeqs = input.sequences.length;
  const numRows = input.rows.length;
  const ruleLengths = input.rules.map((r) => logitRulesWords(r.rules, r.outputIds.length));
  const numRules = input.rules.length;
  const numRuleWords = ruleLengths.reduce((n, length) => n + length, 0);
  const sourceTokens = input.sourceTokens ?? [];
  const numSources = sourceTokens.length;
  const numWords = numTokens + 3 * numSeqs + 2 + numBlockIds + 13 * numRows + numRules + 1 + numRuleWords + numSources;
  const words = new Int32Array(STEP_INPUT_HEADER_WORDS + numWords);
  const floats = new Float32Array(words.buffer);
  const step = BigInt(input.step);
  const feedback = BigInt(input.feedbackStep);
  words.set([
    STEP_INPUT_MAGIC,
    2,
    low(step),
    high(step),
    numTokens,
    numSeqs,
    numBlockIds,
    numRows,
    input.maxLogprobs,
    low(feedback),
    high(feedback),
    numRules,
    numRuleWords,
    numSources,
  ]);
  let at = STEP_INPUT_HEADER_WORDS;
  for (const s of input.sequences) {
    words.set(s.tokenIds, at);
    at += s.tokenIds.length;
  }
  at = putStarts(
    words,
    at,
    input.sequences.map((s) => s.tokenIds.length),
  );
  for (const s of input.sequences) words[at++] = s.numComputedTokens;
  at = putStarts(
    words,
    at,
    input.sequences.map((s) => s.blockIds.length),
  );
  for (const s of input.sequences) {
    words.set(s.blockIds, at);
    at += s.blockIds.length;
  }
  for (const [i, r] of input.rows.entries()) {
    const column = (c: number): number => at + c * numRows + i;
    words[column(0)] = r.token;
    words[column(1)] = r.target ?? -1;
    words[column(2)] = r.slot ?? -1;
    floats[column(3)] = r.temperature;
    words[column(4)] = r.topK;
    floats[column(5)] = r.topP;
    floats[column(6)] = r.minP;
    words[column(7)] = low(r.seed);
    words[column(8)] = high(r.seed);
    words[column(9)] = r.choice;
    words[column(10)] = r.position;
    words[column(11)] = r.numLogprobs ?? -1;
    words[column(12)] = r.ruled ? 1 : 0;
  }
  at = putStarts(words, at + 13 * numRows, ruleLengths);
  for (const rules of input.rules) at = putSlotRules(words, at, rules);
  words.set(sourceTokens, at);
  return words;
}

export function unpackStepOutput(words: Int32Array): StepOutputRow[] {
  const [numRows = 0, maxLogprobs = 0] = words;
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  const [ids, logprobs, ranks, topIds] = [2, 2 + numRows, 2 + 2 * numRows, 2 + 3 * numRows];
  const topLogprobs = topIds + numRows * maxLogprobs;
  return Array.from({ length: numRows }, (_, i) => {
    const rank = words[ranks + i] ?? 0;
    const top = [];
    for (let j = i * maxLogprobs; j < (i + 1) * maxLogprobs; j++) {
      const tokenId = words[topIds + j] ?? -1;
      if (tokenId >= 0) top.push({ tokenId, logprob: floats[topLogprobs + j] ?? 0 });
    }
    return {
      tokenId: words[ids + i] ?? -1,
      logprob: rank > 0 ? (floats[logprobs + i] ?? 0) : null,
      rank: rank > 0 ? rank : null,
      top,
    };
  });
}

function putStarts(words: Int32Array, at: number, lengths: readonly number[]): number {
  let sum = 0;
  for (const n of lengths) {
    words[at++] = sum;
    sum += n;
  }
  words[at++] = sum;
  return at;
}

function low(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}

function high(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n));
}
