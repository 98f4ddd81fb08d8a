import type { TokenDecoder } from './token-decoder.ts';

export interface DetokenizerOptions {
  readonly skipSpecialTokens: boolean;
  /** Where the first token stands: 'start' of a text, whose leading blank some vocabularies drop, or 'middle' of one, as when
   *  a completion goes on from a prompt. */
  readonly position?: 'start' | 'middle';
}

/** Text of a token stream as it grows. All deltas and `end()`, one after another, are the full decode of the tokens; no delta
 *  ends inside a character. Starts from nothing, so a prompt can never show up in the output. */
export class IncrementalDetokenizer {
  readonly #decoder: TokenDecoder;
  readonly #tokenOf: (tokenId: number) => string | null;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  #started: boolean;
  /** Tokens of the last delta: some decoders look one token back. */
  #before: string[] = [];
  #pending: string[] = [];

  /** `tokenOf` says null for ids that have no text. */
  constructor(decoder: TokenDecoder, tokenOf: (tokenId: number) => string | null, options: DetokenizerOptions) {
    this.#decoder = decoder;
    this.#tokenOf = tokenOf;
    this.#started = options.position === 'middle';
  }

  /** @returns the text that is certain now; often '' while a character is incomplete. */
  add(tokenId: number): string {
    const token = this.#tokenOf(tokenId);
    if (token === null) return '';
    // The decoder holds back up to three bytes of an unfinished character, and that is all there is to byte-level text.
    if (this.#decoder.isByteLevel) return this.#utf8.decode(this.#decoder.bytesOf(token), { stream: true });
    this.#pending.push(token);
    // A run of byte tokens is valid or broken as a whole, which only its end decides.
    return this.#decoder.isByteToken(token) ? '' : this.#take();
  }

  /** What was held back. Nothing may be added afterwards. */
  end(): string {
    return this.#decoder.isByteLevel ? this.#utf8.decode() : this.#take();
  }

  #take(): string {
    if (this.#pending.length === 0) return '';
    const text = this.#started
      ? this.#decoder.decodeAfter(this.#before, this.#pending)
      : this.#decoder.decode(this.#pending);
    // Until there is text, the first token is still ahead of everything that a decoder does to a beginning.
    if (text === '' && !this.#started) return '';
    this.#started = true;
    this.#before = this.#pending;
    this.#pending = [];
    return text;
  }
}
