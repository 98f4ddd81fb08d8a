import type { AnswerFormat, Usage } from './answer-format.ts';
import type { ChoiceDelta } from './choice.ts';
import type { CollectedChoice } from './collect-choices.ts';
import { chatLogprobs, promptLogprobs } from './logprobs.ts';
import type { TextCodec } from './text-codec.ts';

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
  readonly codec: TextCodec;
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
    return Array.from({ length: this.#options.numChoices }, (_, index) => {
      const choice = { index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null };
      return `${this.#prefix},"choices":[${JSON.stringify(choice)}]}`;
    });
  }

  chunk(delta: ChoiceDelta, usage: Usage | null): string | null {
    if (delta.text === '' && delta.tokens.length === 0 && delta.finishReason === null) return null;
    const { numTop, codec } = this.#options;
    const logprobs = numTop === null ? 'null' : JSON.stringify(chatLogprobs(delta.tokens, numTop, codec));
    const end =
      delta.finishReason === null
        ? '"finish_reason":null'
        : `"finish_reason":"${delta.finishReason}","stop_reason":${JSON.stringify(delta.stopReason)}`;
    const choice = `{"index":${delta.index},"delta":{"content":${JSON.stringify(delta.text)}},"logprobs":${logprobs},${end}}`;
    return `${this.#prefix},"choices":[${choice}]${usage === null ? '' : `,"usage":${JSON.stringify(usage)}`}}`;
  }

  usageChunk(usage: Usage): string {
    return `${this.#prefix},"choices":[],"usage":${JSON.stringify(usage)}}`;
  }

  whole(choices: readonly CollectedChoice[], usage: Usage): unknown {
    const { header, numTop, numPromptTop, codec } = this.#options;
    const prompt = choices[0]?.promptLogprobs ?? null;
    return {
      id: header.id,
      object: 'chat.completion',
      created: header.created,
      model: header.model,
      choices: choices.map((choice, index) => ({
        index,
        message: { role: 'assistant', content: choice.text, refusal: null },
        logprobs: numTop === null ? null : chatLogprobs(choice.tokens, numTop, codec),
        finish_reason: choice.finishReason,
        stop_reason: choice.stopReason,
      })),
      usage,
      ...(numPromptTop === null || prompt === null
        ? {}
        : { prompt_logprobs: promptLogprobs(prompt, numPromptTop, codec) }),
    };
  }
}
