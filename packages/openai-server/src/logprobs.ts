import type { GeneratedToken } from './engine-client.ts';
import type { CommonRequest } from './request-schema.ts';
import type { TextCodec } from './text-codec.ts';

/** JSON has no -Infinity; vLLM writes this instead. */
const floor = -9999;

/** How logprobs name tokens. */
export type TokenNames = Pick<TextCodec, 'tokenText' | 'tokenBytes'>;

/** By their text, or by their ids for a client that wants to tell apart tokens that look the same. */
export function tokenNamesOf(request: CommonRequest, codec: TextCodec): TokenNames {
  if (request.return_tokens_as_token_ids !== true) return codec;
  return { tokenText: (id) => `token_id:${id}`, tokenBytes: (id) => codec.tokenBytes(id) };
}

interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
}

export interface ChatLogprobs {
  readonly content: readonly (ChatTokenLogprob & { readonly top_logprobs: readonly ChatTokenLogprob[] })[];
}

export function chatLogprobs(tokens: readonly GeneratedToken[], numTop: number, codec: TokenNames): ChatLogprobs {
  const entry = (tokenId: number, logprob: number | null): ChatTokenLogprob => ({
    token: codec.tokenText(tokenId),
    logprob: atLeastFloor(logprob),
    bytes: [...codec.tokenBytes(tokenId)],
  });
  return {
    content: tokens.map((token) => ({
      ...entry(token.tokenId, token.logprob),
      top_logprobs: token.top.slice(0, numTop).map((top) => entry(top.tokenId, top.logprob)),
    })),
  };
}

export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

/** The completions form, over successive runs of tokens: offsets count on from the text of the tokens before. */
export class CompletionLogprobsWriter {
  readonly #codec: TokenNames;
  readonly #numTop: number;
  #offset = 0;

  constructor(codec: TokenNames, numTop: number) {
    this.#codec = codec;
    this.#numTop = numTop;
  }

  /** A null entry is a prompt's first token, which has no logprob; `ids` names the tokens of null entries. */
  write(tokens: readonly (GeneratedToken | null)[], ids?: readonly number[]): CompletionLogprobs {
    const logprobs: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const [position, token] of tokens.entries()) {
      const text = this.#codec.tokenText(token?.tokenId ?? ids?.[position] ?? 0);
      logprobs.tokens.push(text);
      logprobs.text_offset.push(this.#offset);
      logprobs.token_logprobs.push(token === null ? null : atLeastFloor(token.logprob));
      logprobs.top_logprobs.push(token === null ? null : this.#top(token, text));
      this.#offset += text.length;
    }
    return logprobs;
  }

  #top(token: GeneratedToken, text: string): Record<string, number> {
    const top: Record<string, number> = {};
    for (const { tokenId, logprob } of token.top.slice(0, this.#numTop)) {
      top[this.#codec.tokenText(tokenId)] ??= atLeastFloor(logprob);
    }
    top[text] ??= atLeastFloor(token.logprob);
    return top;
  }
}

type PromptLogprobs = readonly (Readonly<
  Record<string, { logprob: number; rank: number | null; decoded_token: string }>
> | null)[];

/** vLLM's form: per prompt position a map of token id to logprob, rank and text; null for the first. */
export function promptLogprobs(
  positions: readonly (GeneratedToken | null)[],
  numTop: number,
  codec: TokenNames,
): PromptLogprobs {
  return positions.map((token) => {
    if (token === null) return null;
    const entries = token.top.slice(0, numTop).map(({ tokenId, logprob }, i) => {
      return [
        String(tokenId),
        { logprob: atLeastFloor(logprob), rank: i + 1, decoded_token: codec.tokenText(tokenId) },
      ] as const;
    });
    const own = {
      logprob: atLeastFloor(token.logprob),
      rank: token.rank,
      decoded_token: codec.tokenText(token.tokenId),
    };
    return Object.fromEntries([...entries, [String(token.tokenId), own]]);
  });
}

function atLeastFloor(logprob: number | null): number {
  return logprob === null || !(logprob > floor) ? floor : logprob;
}
