import type { AnswerFormat, Usage } from './answer-format.ts';
import type { ChoiceDelta } from './choice.ts';
import type { CollectedChoice } from './collect-choices.ts';
import { chatLogprobs, promptLogprobs, type TokenNames } from './logprobs.ts';

export interface AnswerHeader {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  /** As the client wrote it. */
  readonly model: string;
}

export interface ChatFormatOptions {
  readonly header: AnswerHeader;
  readonly numChoices: number;
  /** null: no logprobs. */
  readonly numTop: number | null;
  readonly numPromptTop: number | null;
  readonly role: string;
  /** What each choice's content begins with. */
  readonly echo: string;
  /** null: no token ids are asked for. */
  readonly promptTokenIds: readonly number[] | null;
  readonly promptText: string | null;
  readonly codec: TokenNames;
}

/** chat.completion and chat.completion.chunk. */
export class ChatFormat implements AnswerFormat {
  readonly #options: ChatFormatOptions;
  // Most chunks differ in index and text only, so the rest is written once.
  readonly #prefix: string;

  constructor(options: ChatFormatOptions) {
    this.#options = options;
    const { id, created, model } = options.header;
    this.#prefix = JSON.stringify({ id, object: 'chat.completion.chunk', created, model }).slice(0, -1);
  }

  opening(): string[] {
    const { numChoices, role, echo } = this.#options;
    const deltas = [{ role, content: '' }, ...(echo === '' ? [] : [{ content: echo }])];
    return Array.from({ length: numChoices }, (_, index) => index).flatMap((index) =>
      deltas.map((delta, i) => {
        const choice = JSON.stringify({ index, delta, logprobs: null, finish_reason: null });
        const prompt = index === 0 && i === 0 ? JSON.stringify(this.#prompt()).slice(1, -1) : '';
        return `${this.#prefix},"choices":[${choice}]${prompt === '' ? '' : `,${prompt}`}}`;
      }),
    );
  }

  chunk(delta: ChoiceDelta, usage: Usage | null): string | null {
    if (delta.text === '' && delta.tokens.length === 0 && delta.finishReason === null) return null;
    const { numTop, promptTokenIds, codec } = this.#options;
    const logprobs = numTop === null ? 'null' : JSON.stringify(chatLogprobs(delta.tokens, numTop, codec));
    const end =
      delta.finishReason === null
        ? '"finish_reason":null'
        : `"finish_reason":"${delta.finishReason}","stop_reason":${JSON.stringify(delta.stopReason)}`;
    const ids = promptTokenIds === null ? '' : `,"token_ids":[${delta.tokens.map((token) => token.tokenId).join()}]`;
    const choice = `{"index":${delta.index},"delta":{"content":${JSON.stringify(delta.text)}},"logprobs":${logprobs},${end}${ids}}`;
    return `${this.#prefix},"choices":[${choice}]${usage === null ? '' : `,"usage":${JSON.stringify(usage)}`}}`;
  }

  usageChunk(usage: Usage): string {
    return `${this.#prefix},"choices":[],"usage":${JSON.stringify(usage)}}`;
  }

  whole(choices: readonly CollectedChoice[], usage: Usage): unknown {
    const { header, numTop, numPromptTop, role, echo, promptTokenIds, codec } = this.#options;
    const prompt = choices[0]?.promptLogprobs ?? null;
    return {
      id: header.id,
      object: 'chat.completion',
      created: header.created,
      model: header.model,
      choices: choices.map((choice, index) => ({
        index,
        message: { role, content: echo + choice.text, refusal: null },
        logprobs: numTop === null ? null : chatLogprobs(choice.tokens, numTop, codec),
        finish_reason: choice.finishReason,
        stop_reason: choice.stopReason,
        ...(promptTokenIds === null ? {} : { token_ids: choice.tokens.map((token) => token.tokenId) }),
      })),
      usage,
      ...this.#prompt(),
      ...(numPromptTop === null || prompt === null
        ? {}
        : { prompt_logprobs: promptLogprobs(prompt, numPromptTop, codec) }),
    };
  }

  /** What an answer says of the prompt, when asked. */
  #prompt(): { readonly prompt_token_ids?: readonly number[]; readonly prompt_text?: string } {
    const { promptTokenIds, promptText } = this.#options;
    return {
      ...(promptTokenIds === null ? {} : { prompt_token_ids: promptTokenIds }),
      ...(promptText === null ? {} : { prompt_text: promptText }),
    };
  }
}
