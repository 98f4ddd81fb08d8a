import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Identity, identitySchema } from '@skein/protocol';
import { z } from 'zod';
import { decode, encode } from './codec.ts';

/** How the two ends of a hub connection prove to each other that they hold the group key, without showing it:
 *    hub    -> hello   {version, nonce, frameBytesMax}
 *    client -> auth    {identity, nonce, proof: HMAC(key, "client" + both nonces + identity)}
 *    hub    -> welcome {proof: HMAC(key, "hub" + both nonces + identity)}, or refused {code, message}
 *  A group without a key uses the empty one, so a keyed and an unkeyed end refuse each other in the same way. It proves
 *  who is at the other end; what follows is neither encrypted nor signed, and the rank network must be private. */
export const HANDSHAKE_VERSION = 1;
export const HANDSHAKE_FRAME_BYTES_MAX = 1024;

const NONCE_BYTES = 32;
const PROOF_BYTES = 32;

const bytes = (length: number): z.ZodType<Uint8Array> =>
  z.instanceof(Uint8Array).refine((value) => value.byteLength === length);

export const helloSchema: z.ZodType<Hello> = z.object({
  version: z.literal(HANDSHAKE_VERSION),
  nonce: bytes(NONCE_BYTES),
  frameBytesMax: z.int().min(4096),
});
export const authSchema: z.ZodType<Auth> = z.object({
  identity: identitySchema,
  nonce: bytes(NONCE_BYTES),
  proof: bytes(PROOF_BYTES),
});
export const welcomeSchema: z.ZodType<Welcome> = z.object({ proof: bytes(PROOF_BYTES) });
export const refusedSchema: z.ZodType<Refused> = z.object({ code: z.string().max(100), message: z.string().max(500) });

export interface Hello {
  readonly version: 1;
  readonly nonce: Uint8Array;
  readonly frameBytesMax: number;
}
export interface Auth {
  readonly identity: Identity;
  readonly nonce: Uint8Array;
  readonly proof: Uint8Array;
}
export interface Welcome {
  readonly proof: Uint8Array;
}
export interface Refused {
  readonly code: string;
  readonly message: string;
}

export interface Transcript {
  readonly hubNonce: Uint8Array;
  readonly clientNonce: Uint8Array;
  readonly identity: Identity;
}

export function newNonce(): Uint8Array {
  return new Uint8Array(randomBytes(NONCE_BYTES));
}

/** `purpose` keeps a proof given at one kind of port from being passed on to another. */
export function proof(
  groupKey: string | null,
  prover: 'client' | 'hub',
  transcript: Transcript,
  purpose: string = 'hub',
): Uint8Array {
  const { hubNonce, clientNonce, identity } = transcript;
  const hmac = createHmac('sha256', groupKey ?? '');
  // Fixed lengths come first, so that no two transcripts read alike.
  hmac.update(`skein ${purpose} handshake ${HANDSHAKE_VERSION} ${prover.padEnd(6)}`);
  hmac.update(hubNonce).update(clientNonce).update(identity.incarnation).update(identity.name);
  return new Uint8Array(hmac.digest());
}

export function proves(claimed: Uint8Array, expected: Uint8Array): boolean {
  return claimed.byteLength === expected.byteLength && timingSafeEqual(claimed, expected);
}

export function encodeHandshake(message: Hello | Auth | Welcome | Refused): Uint8Array {
  return encode(message);
}

/** @returns null for anything but the message asked for. */
export function decodeHandshake<T>(schema: z.ZodType<T>, body: Uint8Array): T | null {
  try {
    const parsed = schema.safeParse(decode(body));
    return parsed.success ? parsed.data : null;
  } catch {
    // Not msgpack, or not plain data: the caller ends the connection and says why.
    return null;
  }
}
