import type { AnswerFormat, Usage } from './answer-format.ts';
import type { AnswerHeader } from './chat-format.ts';
import type { ChoiceDelta } from './choice.ts';
import type { CollectedChoice } from './collect-choices.ts';
import type { GeneratedToken } from './engine-client.ts';
import { type CompletionLogprobs, CompletionLogprobsWriter, promptLogprobs, type TokenNames } from './logprobs.ts';
import type { RenderedPrompt } from './text-codec.ts';

export interface CompletionFormatOptions {
  readonly header: AnswerHeader;
  /** One per choice. */
  readonly prompts: readonly RenderedPrompt[];
  /** Whether each text begins with its prompt. */
  readonly echo: boolean;
  readonly returnTokenIds: boolean;
  /** null: no logprobs. */
  readonly numTop: number | null;
  readonly numPromptTop: number | null;
  readonly codec: TokenNames;
}

interface Part {
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  readonly promptLogprobs: readonly (GeneratedToken | null)[] | null;
}

interface WrittenPart {
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly prompt_token_ids?: readonly number[];
  readonly token_ids?: readonly number[];
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
    this.#writers = options.prompts.map(() => new CompletionLogprobsWriter(options.codec, options.numTop ?? 0));
  }

  opening(): string[] {
    return [];
  }

  chunk(delta: ChoiceDelta, usage: Usage | null): string | null {
    const part = this.#part(delta.index, delta);
    if (part.text === '' && delta.tokens.length === 0 && delta.finishReason === null) return null;
    const choice = {
      index: delta.index,
      ...part,
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

  /** A choice's first part begins with the echoed prompt, and names the prompt's tokens. */
  #part(index: number, part: Part): WrittenPart {
    const { numTop, echo, returnTokenIds } = this.#options;
    const prompt = this.#begun.has(index) ? null : (this.#options.prompts[index] ?? null);
    this.#begun.add(index);
    const echoed = echo ? prompt : null;
    const writer = this.#writers[index];
    const before = echoed === null ? [] : (part.promptLogprobs ?? []);
    return {
      text: (echoed?.text ?? '') + part.text,
      logprobs:
        numTop === null || writer === undefined ? null : writer.write([...before, ...part.tokens], echoed?.tokenIds),
      ...(returnTokenIds && prompt !== null ? { prompt_token_ids: prompt.tokenIds } : {}),
      ...(returnTokenIds ? { token_ids: part.tokens.map((token) => token.tokenId) } : {}),
    };
  }
}
