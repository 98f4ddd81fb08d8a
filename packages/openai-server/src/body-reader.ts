import type { IncomingMessage } from 'node:http';
import { ApiError } from './errors.ts';

/** Reads a whole body, at most `maxBytes`. A longer one is refused while it arrives (413); leaving rejects with the abort reason. */
export async function readBody(request: IncomingMessage, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let size = 0;
  const onData = (chunk: Buffer): void => {
    size += chunk.length;
    if (size > maxBytes) return reject(tooLarge(maxBytes));
    chunks.push(chunk);
  };
  const onEnd = (): void => resolve(Buffer.concat(chunks, size));
  const onAbort = (): void => reject(signal.reason as Error);
  request.on('data', onData).on('end', onEnd).on('error', reject);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await promise;
  } finally {
    request.off('data', onData).off('end', onEnd).off('error', reject);
    request.on('error', () => {});
    signal.removeEventListener('abort', onAbort);
  }
}

function tooLarge(maxBytes: number): ApiError {
  return new ApiError(413, 'RequestTooLargeError', `The request body is larger than ${maxBytes} bytes.`);
}
