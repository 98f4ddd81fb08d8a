import type { Decoder } from 'tokenizers';
import { bytesOfByteLevelToken } from './byte-level.ts';

/** Stands for text that came before. Any decoder leaves this token alone, and treats what follows as not being first. */
const ANCHOR = 'a';

const encoder = new TextEncoder();

/** How token strings become text: synchronous, and exactly as the tokenizer's own full decode. */
export class TokenDecoder {
  /** Text is then the UTF-8 of the tokens' bytes, one after another. */
  readonly isByteLevel: boolean;
  readonly #hasByteFallback: boolean;
  readonly #decoder: Decoder | null;

  /** `spec` is tokenizer.json's `decoder`. */
  constructor(decoder: Decoder | null, spec: unknown) {
    const types = decoderTypes(spec);
    this.#decoder = decoder;
    this.isByteLevel = types.length > 0 && types.every((t) => t === 'ByteLevel');
    this.#hasByteFallback = types.includes('ByteFallback');
  }

  /** Text of a whole sequence. */
  decode(tokens: readonly string[]): string {
    return this.#decoder ? this.#decoder.decode([...tokens]) : tokens.join(' ');
  }

  /** Text that `tokens` add after `before`, which in turn come after other text. */
  decodeAfter(before: readonly string[], tokens: readonly string[]): string {
    const start = this.decode([ANCHOR, ...before]);
    return this.decode([ANCHOR, ...before, ...tokens]).slice(start.length);
  }

  /** Whether the token is one byte of a character that has no token: its text depends on its neighbours. */
  isByteToken(token: string): boolean {
    return this.#hasByteFallback && byteOf(token) !== null;
  }

  /** The token's own bytes, in the middle of a text. */
  bytesOf(token: string): Uint8Array {
    if (this.isByteLevel) return bytesOfByteLevelToken(token);
    const byte = this.#hasByteFallback ? byteOf(token) : null;
    return byte === null ? encoder.encode(this.decodeAfter([], [token])) : Uint8Array.of(byte);
  }
}

function byteOf(token: string): number | null {
  const digits = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
  return digits === undefined ? null : Number.parseInt(digits, 16);
}

function decoderTypes(spec: unknown): string[] {
  if (typeof spec !== 'object' || spec === null || !('type' in spec)) return [];
  if (spec.type === 'Sequence' && 'decoders' in spec && Array.isArray(spec.decoders))
    return spec.decoders.flatMap(decoderTypes);
  return typeof spec.type === 'string' ? [spec.type] : [];
}
