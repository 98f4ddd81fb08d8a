import type { ChoiceDelta } from './choice.ts';
import type { CollectedChoice } from './collect-choices.ts';

export interface Usage {
  readonly prompt_tokens: number;
  readonly total_tokens: number;
  readonly completion_tokens: number;
  /** cached_tokens: of the prompts, what came out of the prefix cache. */
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** How an endpoint writes what was generated; one object per answer, so that it may count text offsets. */
export interface AnswerFormat {
  /** JSON of the events before any text. */
  opening(): readonly string[];
  /** JSON of the event for `delta`; null when there is nothing to say. */
  chunk(delta: ChoiceDelta, usage: Usage | null): string | null;
  /** JSON of the last event when usage was asked for. */
  usageChunk(usage: Usage): string;
  /** The body of a whole answer. Choices are in index order. */
  whole(choices: readonly CollectedChoice[], usage: Usage): unknown;
}

/** What each choice has come to so far, by its index. */
export type ChoiceCounts = Pick<ChoiceDelta, 'numTokens' | 'numCachedTokens'>;

/** `counts` in index order, `numChoices` for each prompt: a prompt is computed for its first choice, and the others find it
 *  cached, so only the first says what was cached before the request. */
export function usageOf(
  numPromptTokens: number,
  counts: readonly (ChoiceCounts | undefined)[],
  numChoices: number,
): Usage {
  const numOutputTokens = counts.reduce((sum, choice) => sum + (choice?.numTokens ?? 0), 0);
  const numCached = counts.reduce((sum, c, i) => sum + (i % numChoices === 0 ? (c?.numCachedTokens ?? 0) : 0), 0);
  return {
    prompt_tokens: numPromptTokens,
    total_tokens: numPromptTokens + numOutputTokens,
    completion_tokens: numOutputTokens,
    prompt_tokens_details: { cached_tokens: numCached },
  };
}
