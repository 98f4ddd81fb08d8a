import type { ChoiceDelta } from './choice.ts';
import type { CollectedChoice } from './collect-choices.ts';

export interface Usage {
  readonly prompt_tokens: number;
  readonly total_tokens: number;
  readonly completion_tokens: number;
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

export function usageOf(numPromptTokens: number, numOutputTokens: number): Usage {
  return {
    prompt_tokens: numPromptTokens,
    total_tokens: numPromptTokens + numOutputTokens,
    completion_tokens: numOutputTokens,
  };
}
