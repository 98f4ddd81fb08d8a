import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { bearerToken, clientOfKey } from './api-key.ts';

/** Headers by which a router tells a leader who asks. Believed only with a signature made with the group key. */
export const clientHeaders = { client: 'x-skein-client', signature: 'x-skein-signature' } as const;

export const anonymousClient = 'anonymous';

/** HMAC-SHA256 of `client` under the group key, in hex. */
export function signClient(groupKey: string, client: string): string {
  return createHmac('sha256', groupKey).update(client).digest('hex');
}

/** Constant-time. */
export function verifyClient(groupKey: string, client: string, signature: string): boolean {
  const expected = Buffer.from(signClient(groupKey, client));
  const offered = Buffer.from(signature);
  return expected.length === offered.length && timingSafeEqual(expected, offered);
}

/** Who asks: the router's signed word, else a hash of the API key, else 'anonymous'. */
export function clientOf(request: IncomingMessage, groupKey: string | null): string {
  const client = request.headers[clientHeaders.client];
  const signature = request.headers[clientHeaders.signature];
  if (groupKey !== null && typeof client === 'string' && typeof signature === 'string') {
    if (/^[\w.-]{1,200}$/.test(client) && verifyClient(groupKey, client, signature)) return client;
  }
  const key = bearerToken(request);
  return key === null ? anonymousClient : clientOfKey(key);
}
