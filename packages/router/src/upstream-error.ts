/** connect: no connection was made. reset: it broke. timeout: no answer began in time. */
export type UpstreamFailure = 'connect' | 'reset' | 'timeout';

const connectCodes = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export function failureOf(error: unknown): UpstreamFailure {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  if (connectCodes.has(code)) return 'connect';
  return code === 'UND_ERR_HEADERS_TIMEOUT' ? 'timeout' : 'reset';
}
