import { StopStrings } from '@skein/tokenizer';
import type { EngineClient, FinishReason, GeneratedToken, GenerateRequest } from './engine-client.ts';
import { ApiError } from './errors.ts';
import type { TextCodec } from './text-codec.ts';

/** What vLLM gives for the stop reason of a text that went round in circles. */
const repetitionStop = 'repetition_detected';

/** Tokens of one choice as text, up to its end. */
export interface ChoiceDelta {
  /** Position of the choice in the answer. */
  readonly index: number;
  readonly text: string;
  /** The tokens behind the text so far not reported; empty unless logprobs were asked for. */
  readonly tokens: readonly GeneratedToken[];
  /** Of the choice so far. */
  readonly numTokens: number;
  /** Prompt tokens that came out of the prefix cache. */
  readonly numCachedTokens: number;
  readonly promptLogprobs: readonly (GeneratedToken | null)[] | null;
  /** Set on the last delta, and only there. */
  readonly finishReason: FinishReason | null;
  /** The stop string, or the request's own stop token, that ended it. */
  readonly stopReason: string | number | null;
}

export interface TextOptions {
  readonly stops: readonly string[];
  readonly includeStop: boolean;
  readonly skipSpecialTokens: boolean;
  /** Only the prompt is of interest: generated tokens are dropped. */
  readonly discardOutput: boolean;
  /** Whether deltas carry tokens. */
  readonly wantsTokens: boolean;
  /** Tokens that a delta waits for, after the first. */
  readonly tokensPerDelta: number;
}

export interface ChoiceRequest {
  readonly index: number;
  readonly generate: GenerateRequest;
  readonly text: TextOptions;
}

/** Runs one choice. The concatenated text, the tokens and the counts do not depend on how the engine cut its events, so a
 *  stream and a whole answer agree. Leaving the loop cancels the engine's work. */
export async function* runChoice(
  choice: ChoiceRequest,
  dependencies: { readonly engine: EngineClient; readonly codec: TextCodec },
  signal: AbortSignal,
): AsyncGenerator<ChoiceDelta, void, undefined> {
  const { index, generate, text: options } = choice;
  const detokenizer = dependencies.codec.createDetokenizer({
    skipSpecialTokens: options.skipSpecialTokens,
    position: 'middle',
  });
  const stops = new StopStrings(options.stops, { includeStopString: options.includeStop });
  const minTokens = generate.sampling.logitRules?.minTokens ?? 0;
  let pending: GeneratedToken[] = [];
  let text = '';
  let numTokens = 0;
  let nextDeltaAt = 0;

  for await (const event of dependencies.engine.generate(generate, signal)) {
    const { promptLogprobs, finishReason, numCachedTokens } = event;
    let matched: string | null = null;
    const take = (piece: string): void => {
      // As in vLLM: of the first min_tokens tokens none completes a stop string.
      if (numTokens <= minTokens) return void (text += stops.pass(piece));
      const result = stops.add(piece);
      text += result.text;
      matched = result.stop;
    };
    for (const [position, token] of event.tokens.entries()) {
      if (options.discardOutput) break;
      numTokens += 1;
      if (options.wantsTokens) pending.push(token);
      // The token that ends a choice is no text, unless it was asked to be.
      const isStopToken = finishReason === 'stop' && position === event.tokens.length - 1;
      if (!isStopToken || options.includeStop) take(detokenizer.add(token.tokenId));
      if (matched !== null) break;
    }
    if (finishReason !== null && matched === null) take(detokenizer.flush());
    if (finishReason !== null && matched === null) text += stops.end();
    const ended = matched === null ? finishReason : 'stop';
    const reason = ended !== null && options.discardOutput ? 'length' : ended;
    if (reason === null && numTokens < nextDeltaAt) continue;
    nextDeltaAt = numTokens + options.tokensPerDelta;
    // Tokens wait for their text, so that both reach the client together.
    const tokens = text === '' && reason === null ? [] : pending;
    if (tokens === pending) pending = [];
    const ready = text;
    text = '';
    yield {
      index,
      text: ready,
      tokens,
      numTokens,
      numCachedTokens,
      promptLogprobs,
      finishReason: reason,
      stopReason: matched ?? (reason === 'repetition' ? repetitionStop : event.stopReason),
    };
    if (reason !== null) return;
  }
  throw new ApiError(500, 'InternalServerError', 'Internal server error.', { code: 'ERR_NO_FINISH' });
}
