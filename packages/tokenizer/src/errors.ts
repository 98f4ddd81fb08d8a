export type TokenizerErrorCode = 'ERR_TOKENIZER_FILE' | 'ERR_TEXT_TOO_LONG' | 'ERR_CHAT_TEMPLATE' | 'ERR_ENCODE';

/** Everything this package throws. Match on `code`. The message never holds prompt text. */
export class TokenizerError extends Error {
  readonly code: TokenizerErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: TokenizerErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TokenizerError';
    this.code = code;
    this.details = options.details ?? {};
  }
}
