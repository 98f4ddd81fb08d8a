import { badRequest, invalidBody } from './errors.ts';
import type { CommonRequest } from './request-schema.ts';
import type { EncodeTextOptions, TextCodec } from './text-codec.ts';

/** Characters a token has at most in ordinary text. A longer text than the model's tokens times this is looked into first. */
const likelyCharsPerToken = 16;
/** By how many tokens the beginning of a text may differ from the same stretch of the whole. */
const slackTokens = 64;

export interface PromptLimits {
  readonly maxModelLen: number;
  /** Output tokens that the client asks for; null where it leaves that open. */
  readonly numOutputTokens: number | null;
  /** The field to blame, as errors name it. */
  readonly param: string;
}

/** Turns a request's prompts into token ids, as many as the model takes: cut where the request says so, else refused before
 *  much work goes into what cannot fit. */
export class PromptEncoder {
  readonly #codec: TextCodec;
  readonly #limits: PromptLimits;
  /** Tokens to keep; null: all. */
  readonly #keep: number | null;
  readonly #keepsEnd: boolean;

  /** Throws 400 when it is to keep more than the model takes. */
  constructor(
    request: Pick<CommonRequest, 'truncate_prompt_tokens' | 'truncation_side'>,
    codec: TextCodec,
    limits: PromptLimits,
  ) {
    this.#codec = codec;
    this.#limits = limits;
    this.#keep = tokensToKeep(request.truncate_prompt_tokens ?? null, limits);
    this.#keepsEnd = request.truncation_side !== 'right';
  }

  /** Throws 400 when `numChars` characters cannot come to as few tokens as the model takes. */
  checkLength(numChars: number): void {
    const least = Math.ceil(numChars / this.#codec.maxCharsPerToken);
    if (least > this.#limits.maxModelLen) throw this.#tooLong(least);
  }

  async encode(text: string, options: EncodeTextOptions): Promise<readonly number[]> {
    if (this.#keep !== null) return this.truncate(await this.#codec.encodeText(this.#likelyKept(text), options));
    this.checkLength(text.length);
    const { maxModelLen } = this.#limits;
    const likelyChars = maxModelLen * likelyCharsPerToken;
    if (text.length > likelyChars) {
      const beginning = await this.#codec.encodeText(text.slice(0, likelyChars).toWellFormed(), options);
      if (beginning.length > maxModelLen + slackTokens) throw this.#tooLong(beginning.length - slackTokens);
    }
    const tokenIds = await this.#codec.encodeText(text, options);
    if (tokenIds.length > 0) return tokenIds;
    throw invalidBody(`${this.#limits.param}: the prompt is empty.`, this.#limits.param);
  }

  truncate(tokenIds: readonly number[]): readonly number[] {
    if (this.#keep === null || tokenIds.length <= this.#keep) return tokenIds;
    return this.#keepsEnd ? tokenIds.slice(-this.#keep) : tokenIds.slice(0, this.#keep);
  }

  /** What is left when a text is cut to where the tokens to keep must be, so that the rest costs nothing. */
  #likelyKept(text: string): string {
    const numChars = ((this.#keep ?? 0) + slackTokens) * this.#codec.maxCharsPerToken;
    if (text.length <= numChars) return text;
    return (this.#keepsEnd ? text.slice(-numChars) : text.slice(0, numChars)).toWellFormed();
  }

  #tooLong(numTokens: number): Error {
    const { maxModelLen, param } = this.#limits;
    return badRequest(
      `This model's maximum context length is ${maxModelLen} tokens. However, your prompt has at least ${numTokens} tokens.`,
      param,
    );
  }
}

function tokensToKeep(asked: number | null, { maxModelLen, numOutputTokens }: PromptLimits): number | null {
  if (asked === null) return null;
  if (asked <= maxModelLen) return asked > 0 ? asked : Math.max(maxModelLen - (numOutputTokens ?? 1), 1);
  const param = 'body.truncate_prompt_tokens';
  throw badRequest(`${param}: must be at most the model's ${maxModelLen} tokens; got ${asked}.`, param);
}
