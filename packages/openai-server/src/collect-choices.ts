import type { ChoiceDelta } from './choice.ts';
import type { FinishReason, GeneratedToken } from './engine-client.ts';

/** A choice at its end. */
export interface CollectedChoice {
  text: string;
  readonly tokens: GeneratedToken[];
  numTokens: number;
  numCachedTokens: number;
  promptLogprobs: readonly (GeneratedToken | null)[] | null;
  finishReason: FinishReason | null;
  stopReason: string | number | null;
}

/** Gathers the deltas of all choices, in index order. */
export async function collectChoices(
  deltas: AsyncIterable<ChoiceDelta>,
  numChoices: number,
): Promise<CollectedChoice[]> {
  const choices = Array.from({ length: numChoices }, (): CollectedChoice => {
    return {
      text: '',
      tokens: [],
      numTokens: 0,
      numCachedTokens: 0,
      promptLogprobs: null,
      finishReason: null,
      stopReason: null,
    };
  });
  for await (const delta of deltas) {
    const choice = choices[delta.index];
    if (choice === undefined) continue;
    choice.text += delta.text;
    for (const token of delta.tokens) choice.tokens.push(token);
    choice.numTokens = delta.numTokens;
    choice.numCachedTokens = delta.numCachedTokens;
    choice.promptLogprobs ??= delta.promptLogprobs;
    choice.finishReason = delta.finishReason;
    choice.stopReason = delta.stopReason;
  }
  return choices;
}
