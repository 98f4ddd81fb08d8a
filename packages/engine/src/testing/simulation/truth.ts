import type { Request } from '../../request.ts';

/** Folds one position into the hash of all positions before it. */
export function fold(hash: number, content: number): number {
  const h = Math.imul(hash ^ content, 0x9e3779b1);
  return (h ^ (h >>> 15)) | 0;
}

/** The token that follows a context, given how many outputs came before. */
export function nextToken(contextHash: number, position: number, vocab: number): number {
  return (fold(contextHash, position + 7) >>> 0) % vocab;
}

/** What a request's context and answer are when it is computed alone: the simulation's oracle. */
export class Truth {
  readonly request: Request;
  /** Marks what belongs to the request's owner: foreign content is wrong content, though the tokens be equal. */
  readonly tag: number;
  readonly tokens: number[];
  /** Of the context up to and with each position. */
  readonly hashes: number[] = [];

  constructor(request: Request, tag: number) {
    this.request = request;
    this.tag = tag;
    this.tokens = [...request.tokenIds];
    this.#hashFrom(0);
  }

  append(token: number): void {
    this.tokens.push(token);
    this.#hashFrom(this.tokens.length - 1);
  }

  /** Forgets tokens that were sampled and never delivered. */
  rollBack(): void {
    this.tokens.length = this.request.tokenIds.length;
    this.hashes.length = this.tokens.length;
  }

  #hashFrom(position: number): void {
    for (let p = position; p < this.tokens.length; p++)
      this.hashes.push(fold(this.hashes[p - 1] ?? 0, contentOf(this.tokens[p] ?? -1, this.tag)));
  }
}

/** What a KV slot holds in the simulation: a token, and whose it is. */
export function contentOf(token: number, tag: number): number {
  return (tag << 16) | (token & 0xffff);
}
