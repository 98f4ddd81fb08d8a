/** Codes of native failures; stable. */
export type NativeErrorCode =
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_STEP_INPUT'
  | 'ERR_STEP_DEADLINE'
  | 'ERR_PEER_LOST'
  | 'ERR_ABORTED'
  | 'ERR_UNAVAILABLE'
  | 'ERR_FILE'
  | 'ERR_INTERNAL';

const CODES: ReadonlySet<string> = new Set<NativeErrorCode>([
  'ERR_INVALID_ARGUMENT',
  'ERR_STEP_INPUT',
  'ERR_STEP_DEADLINE',
  'ERR_PEER_LOST',
  'ERR_ABORTED',
  'ERR_UNAVAILABLE',
  'ERR_FILE',
  'ERR_INTERNAL',
]);

/** A failure of the addon, or of loading it (ERR_UNAVAILABLE). */
export class NativeError extends Error {
  override readonly name: string = 'NativeError';
  readonly code: NativeErrorCode;

  constructor(code: NativeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What the addon threw or rejected with, as a NativeError where it carries one of our codes; everything else unchanged. */
export function toNativeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof NativeError || !('code' in error)) return error;
  const { code } = error;
  return typeof code === 'string' && CODES.has(code)
    ? new NativeError(code as NativeErrorCode, error.message, { cause: error })
    : error;
}
