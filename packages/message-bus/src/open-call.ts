import type { Identity } from '@skein/protocol';
import type { Envelope } from './envelope.ts';
import { MessageBusError, RemoteError } from './errors.ts';

/** One open request or stream, as its answers see it. */
export interface OpenCall {
  onAnswer(envelope: Envelope, from: Identity): void;
  /** Ends it without an answer. */
  fail(error: MessageBusError): void;
}

export function remoteError(envelope: Envelope & { kind: 'error' }, from: Identity): RemoteError {
  const { data } = envelope;
  const details = typeof data === 'object' && data !== null && !Array.isArray(data) ? { ...data } : {};
  return new RemoteError(envelope.code, envelope.message, { from, details });
}

export function withSubject(error: MessageBusError, subject: string): MessageBusError {
  if ('subject' in error.details) return error;
  return new MessageBusError(error.code, `${subject}: ${error.message}`, { details: { ...error.details, subject } });
}

export function aborted(subject: string, signal: AbortSignal | undefined): MessageBusError {
  return new MessageBusError('ERR_ABORTED', `${subject}: the caller aborted`, {
    cause: signal?.reason,
    details: { subject },
  });
}
