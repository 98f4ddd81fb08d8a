import { Tokenizer as Binding } from 'tokenizers';
import { ChatTemplate, checkTextLength, type RenderedChat } from './chat-template.ts';
import { TokenizerError } from './errors.ts';
import { ggufTokenizerFiles } from './gguf/gguf-tokenizer-files.ts';
import { IncrementalDetokenizer, type DetokenizerOptions } from './incremental-detokenizer.ts';
import { SpecialText } from './special-text.ts';
import { maxCharsPerToken } from './max-chars-per-token.ts';
import { TokenDecoder } from './token-decoder.ts';
import { parseConfig, parseDefinition, readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';

export interface EncodeOptions {
  /** Whether the tokenizer's own template adds its special tokens (BOS and the like). Default true. */
  readonly addSpecialTokens?: boolean;
  /** 'parse': special tokens spelt out in the text become special tokens. 'text': they stay what they look like. */
  readonly specialTokens?: 'parse' | 'text';
  readonly maxTextLength?: number;
}

export interface TokenizerOptions {
  /** Stands in for the folder's own templates. */
  readonly chatTemplate?: string | null;
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** A model's tokenizer. Encoding runs off this thread; everything about single tokens is synchronous. */
export class Tokenizer {
  /** null when the model has none. */
  readonly chatTemplate: ChatTemplate | null;
  readonly vocabSize: number;
  readonly specialTokenIds: ReadonlySet<number>;
  /** Characters of a text that one token stands for at most; Infinity where tokens may swallow more. */
  readonly maxCharsPerToken: number;
  readonly #binding: Binding;
  readonly #definitionJson: string;
  /** Knows no special tokens: for text that only looks like them. Few models ever meet such a text, so it is made for the first. */
  #plain: Binding | null = null;
  readonly #specialText: SpecialText;
  readonly #decoder: TokenDecoder;

  private constructor({ definition, definitionJson, config }: TokenizerFiles) {
    const specials = definition.added_tokens.filter((t) => t.special);
    this.#definitionJson = definitionJson;
    this.#binding = load(definitionJson);
    this.specialTokenIds = new Set(specials.map((t) => t.id));
    this.vocabSize = this.#binding.getVocabSize(true);
    this.maxCharsPerToken = maxCharsPerToken(definition);
    const contents = specials.map((t) => t.content);
    this.chatTemplate = ChatTemplate.fromConfig(config, contents);
    this.#specialText = new SpecialText(contents);
    this.#decoder = new TokenDecoder(this.#binding.getDecoder(), definition.decoder);
  }

  /** Reads a model's folder. A large vocabulary takes about half a second of this thread: do it before serving.
   *  @throws TokenizerError ERR_TOKENIZER_FILE, ERR_CHAT_TEMPLATE. */
  static async load(folder: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
    return new Tokenizer(withTemplate(await readTokenizerFiles(folder), options));
  }

  /** From the metadata of a GGUF file. @param options.file names it in errors.
   *  @throws TokenizerError ERR_TOKENIZER_FILE, ERR_CHAT_TEMPLATE. */
  static fromGguf(metadata: ReadonlyMap<string, unknown>, options: TokenizerOptions & { readonly file: string }) {
    return new Tokenizer(withTemplate(ggufTokenizerFiles(metadata, options.file), options));
  }

  /** From the texts of tokenizer.json and tokenizer_config.json. */
  static fromJson(definition: string, config = '{}'): Tokenizer {
    return new Tokenizer({
      definition: parseDefinition(definition),
      definitionJson: definition,
      config: parseConfig(config),
    });
  }

  /** @throws TokenizerError ERR_TEXT_TOO_LONG, ERR_ENCODE. */
  async encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    const { addSpecialTokens = true, specialTokens = 'parse', maxTextLength = Infinity } = options;
    checkTextLength(text.length, maxTextLength);
    const plain = specialTokens === 'text' && this.#specialText.contains(text);
    return plain ? this.#encodePlain(text, addSpecialTokens) : encodeWith(this.#binding, text, addSpecialTokens);
  }

  /** Ids of a rendered chat. Adds no special tokens unless told so: the template has spelt them out. */
  async encodeChat(chat: RenderedChat, options: { readonly addSpecialTokens?: boolean } = {}): Promise<number[]> {
    const stretches = this.#specialText.split(chat.markedText, chat.mark);
    const parts = await Promise.all(
      stretches.map((s) =>
        s.parseSpecial ? encodeWith(this.#binding, s.text, false) : this.#encodePlain(s.text, false),
      ),
    );
    const ids = parts.flat();
    if (options.addSpecialTokens !== true) return ids;
    const { before, after } = await this.#specialsAround();
    return [...before, ...ids, ...after];
  }

  /** The special tokens that the tokenizer puts around a text. */
  async #specialsAround(): Promise<{ readonly before: number[]; readonly after: number[] }> {
    const [bare, whole] = await Promise.all([
      encodeWith(this.#binding, 'a', false),
      encodeWith(this.#binding, 'a', true),
    ]);
    const at = whole.findIndex((_, i) => bare.every((id, j) => whole[i + j] === id));
    return { before: whole.slice(0, at), after: whole.slice(at + bare.length) };
  }

  /** Full decode, off this thread. */
  async decode(tokenIds: readonly number[], options: { readonly skipSpecialTokens: boolean }): Promise<string> {
    return this.#binding.decode([...tokenIds], options.skipSpecialTokens);
  }

  newDetokenizer(options: DetokenizerOptions): IncrementalDetokenizer {
    const { specialTokenIds } = this;
    const tokenOf = (id: number): string | null =>
      options.skipSpecialTokens && specialTokenIds.has(id) ? null : this.tokenOf(id);
    return new IncrementalDetokenizer(this.#decoder, tokenOf, options);
  }

  /** The token as the vocabulary spells it; null for an id outside of it. */
  tokenOf(tokenId: number): string | null {
    return Number.isInteger(tokenId) && tokenId >= 0 && tokenId < 2 ** 32 ? this.#binding.idToToken(tokenId) : null;
  }

  idOf(token: string): number | null {
    return this.#binding.tokenToId(token);
  }

  /** The bytes this token stands for in the middle of a text: for the `bytes` of logprobs. Empty for an unknown id. */
  tokenBytes(tokenId: number): Uint8Array {
    const token = this.tokenOf(tokenId);
    return token === null ? new Uint8Array() : this.#decoder.bytesOf(token);
  }

  /** The same as text; bytes that are no whole character show as U+FFFD. */
  tokenText(tokenId: number): string {
    return utf8.decode(this.tokenBytes(tokenId));
  }

  async #encodePlain(text: string, addSpecialTokens: boolean): Promise<number[]> {
    const plain = (this.#plain ??= withoutSpecialTokens(this.#definitionJson));
    const ids = await encodeWith(plain, text, addSpecialTokens);
    const own = addSpecialTokens ? await encodeWith(plain, '', true) : [];
    const numSpecial = (some: readonly number[]): number => some.filter((id) => this.specialTokenIds.has(id)).length;
    if (numSpecial(ids) === numSpecial(own)) return ids;
    // A model whose vocabulary itself holds the special tokens can still find them in the text: cut them apart first.
    const cut = await Promise.all(this.#cutSpecials(text).map((piece) => encodeWith(plain, piece, false)));
    return [...own.slice(0, leading(ids, own)), ...cut.flat(), ...own.slice(leading(ids, own))];
  }

  #cutSpecials(text: string): string[] {
    const mark = this.#specialText.chooseMark(text);
    return mark === null ? Array.from(text) : this.#specialText.mark(text, mark).split(mark);
  }
}

function withTemplate(files: TokenizerFiles, { chatTemplate = null }: TokenizerOptions): TokenizerFiles {
  return chatTemplate === null ? files : { ...files, config: { ...files.config, chat_template: chatTemplate } };
}

function withoutSpecialTokens(definitionJson: string): Binding {
  const definition = parseDefinition(definitionJson);
  return load(JSON.stringify({ ...definition, added_tokens: definition.added_tokens.filter((t) => !t.special) }));
}

function load(definitionJson: string): Binding {
  try {
    return Binding.fromString(definitionJson);
  } catch (cause) {
    throw new TokenizerError(
      'ERR_TOKENIZER_FILE',
      `tokenizer.json cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

async function encodeWith(binding: Binding, text: string, addSpecialTokens: boolean): Promise<number[]> {
  if (text === '' && !addSpecialTokens) return [];
  try {
    return (await binding.encode(text, null, { addSpecialTokens })).getIds();
  } catch (cause) {
    throw new TokenizerError('ERR_ENCODE', `a text of ${text.length} characters cannot be encoded`, { cause });
  }
}

/** How many of the tokenizer's `own` tokens stand before the text. */
function leading(ids: readonly number[], own: readonly number[]): number {
  const firstOther = own.findIndex((id, i) => ids[i] !== id);
  return firstOther < 0 ? own.length : firstOther;
}
