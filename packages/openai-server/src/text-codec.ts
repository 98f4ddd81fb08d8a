/** What this package needs of a tokenizer. Heavy work is asynchronous and off the event loop. */
export interface TextCodec {
  readonly vocabSize: number;
  /** Characters that one token stands for at most; Infinity where that has no bound. */
  readonly maxCharsPerToken: number;
  encodeText(text: string, options: EncodeTextOptions): Promise<readonly number[]>;
  /** Throws ApiError 400 when the model's template refuses the messages. */
  renderChat(messages: readonly ChatMessage[], options: RenderChatOptions): Promise<RenderedPrompt>;
  /** For one choice. Its pieces, concatenated, are the decoding of all ids together; a piece is never part of a character. */
  createDetokenizer(options: DetokenizerOptions): Detokenizer;
  /** One token on its own, for logprobs. Incomplete UTF-8 shows as U+FFFD; the bytes are exact. */
  tokenText(id: number): string;
  tokenBytes(id: number): Uint8Array;
}

export interface EncodeTextOptions {
  readonly addSpecialTokens: boolean;
}

export interface RenderedPrompt {
  readonly text: string;
  readonly tokenIds: readonly number[];
}

export interface DetokenizerOptions {
  readonly skipSpecialTokens: boolean;
  /** 'middle': the text goes on from a prompt, so a blank at its beginning counts. */
  readonly position: 'start' | 'middle';
}

export interface Detokenizer {
  /** @returns text that is certain after this token; often empty. */
  add(id: number): string;
  /** @returns what was held back. No add after it. */
  flush(): string;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
}

export interface RenderChatOptions {
  readonly addGenerationPrompt: boolean;
  readonly continueFinalMessage: boolean;
  /** The tokenizer's own special tokens, beside those of the template. */
  readonly addSpecialTokens: boolean;
  readonly templateKwargs: Readonly<Record<string, unknown>>;
}
