import { SkeinError } from '@skein/protocol';
import { encode } from './codec.ts';
import type { Envelope } from './envelope.ts';
import { ERROR_MESSAGE_MAX } from './envelope.ts';

const DETAILS_BYTES_MAX = 16 * 1024;
const CODE = /^ERR_[A-Z0-9_]{1,96}$/;

/** What a caller learns of an error that a handler threw. A SkeinError crosses with code, message and plain details; of
 *  anything else only the message does. No stack ever does. */
export function errorEnvelope(call: number, error: unknown): Envelope {
  const code = error instanceof SkeinError && CODE.test(error.code) ? error.code : 'ERR_INTERNAL';
  const message = (error instanceof Error ? error.message : 'a handler threw no error').slice(0, ERROR_MESSAGE_MAX);
  return { kind: 'error', call, code, message, data: error instanceof SkeinError ? plainDetails(error.details) : {} };
}

function plainDetails(details: unknown): unknown {
  try {
    return encode(details).byteLength <= DETAILS_BYTES_MAX ? details : {};
  } catch {
    // The error matters more than what its thrower put beside it.
    return {};
  }
}
