import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Holds the digests of the accepted API keys; without keys everything is allowed. */
export class ApiKeyGuard {
  readonly #digests: readonly Buffer[];

  constructor(apiKeys: readonly string[]) {
    this.#digests = apiKeys.map(digest);
  }

  /** True when the request may pass. Compares digests in constant time and looks at every key. */
  allows(request: IncomingMessage): boolean {
    if (this.#digests.length === 0) return true;
    const offered = digest(bearerToken(request) ?? '');
    let allowed = false;
    for (const known of this.#digests) allowed = timingSafeEqual(known, offered) || allowed;
    return allowed;
  }
}

/** The token of `Authorization: Bearer …`. */
export function bearerToken(request: IncomingMessage): string | null {
  return /^Bearer +(\S{1,4096}) *$/i.exec(request.headers.authorization ?? '')?.[1] ?? null;
}

/** An opaque, stable tenant id of a key; the key cannot be had back from it. */
export function clientOfKey(apiKey: string): string {
  return `key-${digest(`client:${apiKey}`).toString('hex').slice(0, 32)}`;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
