import type { AnswerFormat, Usage } from './answer-format.ts';
import type { AnswerHeader } from './chat-format.ts';
import type { ChoiceDelta } from './choice.ts';
import type { CollectedChoice } from './collect-choices.ts';
import type { GeneratedToken } from './engine-client.ts';
import { type CompletionLogprobs, CompletionLogprobsWriter, promptLogprobs } from './logprobs.ts';
import type { TextCodec } from './text-codec.ts';

export interface EchoedPrompt {
  readonly text: string;
  readonly tokenIds: readonly number[];
}

export interface CompletionFormatOptions {
  readonly header: AnswerHeader;
  /** One per choice; null where the prompt is not echoed. */
  readonly echoes: readonly (EchoedPrompt | null)[];
  /** null: no logprobs. */
  readonly numTop: number | null;
  readonly numPromptTop: number | null;
  readonly codec: TextCodec;
}

interface Part {
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  readonly promptLogprobs: readonly (GeneratedToken | null)[] | null;
}

/** text_completion, streamed or whole. */
export class CompletionFormat implements AnswerFormat {
  readonly #options: CompletionFormatOptions;
  readonly #prefix: string;
  readonly #writers: readonly CompletionLogprobsWriter[];
  readonly #begun = new Set<number>();

  constructor(options: CompletionFormatOptions) {
    this.#options = options;
    const { id, created, model } = options.header;
    this.#prefix = JSON.stringify({ id, object: 'text_completion', created, model }).slice(0, -1);
    this.#writers = options.echoes.map(() => new CompletionLogprobsWriter(options.codec, options.numTop ?? 0));
  }

  opening(): string[] {
    return [];
  }

  chunk(delta: ChoiceDelta, usage: Usage | null): string | null {
    const { text, logprobs } = this.#part(delta.index, delta);
    if (text === '' && delta.tokens.length === 0 && delta.finishReason === null) return null;
    const choice = {
      index: delta.index,
      text,
      logprobs,
      finish_reason: delta.finishReason,
      ...(delta.finishReason === null ? {} : { stop_reason: delta.stopReason }),
    };
    return `${this.#prefix},"choices":[${JSON.stringify(choice)}]${usage === null ? '' : `,"usage":${JSON.stringify(usage)}`}}`;
  }

  usageChunk(usage: Usage): string {
    return `${this.#prefix},"choices":[],"usage":${JSON.stringify(usage)}}`;
  }

  whole(choices: readonly CollectedChoice[], usage: Usage): unknown {
    const { header, numPromptTop, codec } = this.#options;
    return {
      id: header.id,
      object: 'text_completion',
      created: header.created,
      model: header.model,
      choices: choices.map((choice, index) => ({
        index,
        ...this.#part(index, choice),
        finish_reason: choice.finishReason,
        stop_reason: choice.stopReason,
        ...(numPromptTop === null || choice.promptLogprobs === null
          ? {}
          : { prompt_logprobs: promptLogprobs(choice.promptLogprobs, numPromptTop, codec) }),
      })),
      usage,
    };
  }

  /** A choice's first part begins with the echoed prompt. */
  #part(index: number, part: Part): { readonly text: string; readonly logprobs: CompletionLogprobs | null } {
    const echo = this.#begun.has(index) ? null : (this.#options.echoes[index] ?? null);
    this.#begun.add(index);
    const writer = this.#writers[index];
    const text = (echo?.text ?? '') + part.text;
    if (this.#options.numTop === null || writer === undefined) return { text, logprobs: null };
    const prompt = echo === null ? [] : (part.promptLogprobs ?? []);
    return { text, logprobs: writer.write([...prompt, ...part.tokens], echo?.tokenIds) };
  }
}
