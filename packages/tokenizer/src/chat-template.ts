import { Template } from '@huggingface/jinja';
import { TokenizerError } from './errors.ts';
import { SpecialText } from './special-text.ts';
import type { TokenizerConfig } from './tokenizer-files.ts';

export interface ChatTemplateOptions {
  /** Which of several named templates; null picks `tool_use` when tools are given and there is one, else `default`. */
  readonly name?: string | null;
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[] | null;
  /** More variables for the template (`chat_template_kwargs`). They may not hide the standard ones. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** Most characters of messages and tools, and of the rendered text. */
  readonly maxTextLength?: number;
}

/** A rendered chat: only `Tokenizer.encodeChat` turns it into ids. */
export interface RenderedChat {
  /** Marks included. */
  readonly markedText: string;
  /** Stands inside special tokens that users typed. */
  readonly mark: string;
  /** As the model's author meant it, for people to read. */
  readonly text: string;
}

/** The chat template of a model. */
export class ChatTemplate {
  readonly #templates: ReadonlyMap<string, Template>;
  readonly #specialText: SpecialText;
  readonly #tokens: { readonly bos_token: string; readonly eos_token: string };

  private constructor(
    templates: ReadonlyMap<string, Template>,
    config: TokenizerConfig,
    specialTokens: readonly string[],
  ) {
    this.#templates = templates;
    this.#specialText = new SpecialText(specialTokens);
    this.#tokens = { bos_token: config.bos_token ?? '', eos_token: config.eos_token ?? '' };
  }

  /** @returns null when the model has none. @throws TokenizerError ERR_CHAT_TEMPLATE when one cannot be parsed. */
  static fromConfig(config: TokenizerConfig, specialTokens: readonly string[]): ChatTemplate | null {
    const given = config.chat_template;
    if (given === null || given === undefined || given.length === 0) return null;
    const named = typeof given === 'string' ? [{ name: 'default', template: given }] : given;
    try {
      return new ChatTemplate(new Map(named.map((t) => [t.name, new Template(t.template)])), config, specialTokens);
    } catch (cause) {
      throw new TokenizerError('ERR_CHAT_TEMPLATE', `the chat template cannot be parsed: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  /** @throws TokenizerError ERR_CHAT_TEMPLATE (also when the template itself raises), ERR_TEXT_TOO_LONG. */
  render(messages: readonly Readonly<Record<string, unknown>>[], options: ChatTemplateOptions = {}): RenderedChat {
    const tools = options.tools ?? null;
    const maxTextLength = options.maxTextLength ?? Infinity;
    const given = JSON.stringify([messages, tools, options.variables ?? {}]);
    checkTextLength(given.length, maxTextLength);
    const mark = this.#specialText.chooseMark(given);
    if (mark === null)
      throw new TokenizerError('ERR_CHAT_TEMPLATE', 'the messages hold every noncharacter from U+FDD0 to U+FDEF');
    const markedText = this.#run(this.#pick(options.name ?? null, tools !== null && tools.length > 0), {
      ...(this.#marked(options.variables ?? {}, mark) as Record<string, unknown>),
      ...this.#tokens,
      messages: messages.map((m) => ({
        ...(this.#marked(m, mark) as Record<string, unknown>),
        ...('role' in m ? { role: m['role'] } : {}),
      })),
      tools: this.#marked(tools, mark),
      add_generation_prompt: options.addGenerationPrompt ?? true,
    });
    checkTextLength(markedText.length, maxTextLength);
    return { markedText, mark, text: markedText.replaceAll(mark, '') };
  }

  #run(template: Template, variables: Record<string, unknown>): string {
    try {
      return template.render(variables);
    } catch (cause) {
      throw new TokenizerError('ERR_CHAT_TEMPLATE', `the chat template failed: ${messageOf(cause)}`, { cause });
    }
  }

  #pick(name: string | null, hasTools: boolean): Template {
    const wanted = name ?? (hasTools && this.#templates.has('tool_use') ? 'tool_use' : 'default');
    const template =
      this.#templates.get(wanted) ??
      (name === null && this.#templates.size === 1 ? this.#templates.values().next().value : undefined);
    if (template) return template;
    throw new TokenizerError(
      'ERR_CHAT_TEMPLATE',
      `no chat template is called ${wanted}; there are ${[...this.#templates.keys()].join(', ')}`,
    );
  }

  /** Every string in a value, however deep, with its special tokens marked. */
  #marked(value: unknown, mark: string): unknown {
    if (typeof value === 'string') return this.#specialText.mark(value, mark);
    if (Array.isArray(value)) return value.map((v) => this.#marked(v, mark));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([k, v]) => [this.#specialText.mark(k, mark), this.#marked(v, mark)]),
    );
  }
}

export function checkTextLength(length: number, maxTextLength: number): void {
  if (length <= maxTextLength) return;
  throw new TokenizerError('ERR_TEXT_TOO_LONG', `the text has ${length} characters; ${maxTextLength} are allowed`, {
    details: { length, maxTextLength },
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
