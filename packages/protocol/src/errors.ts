/** Base of every error a skein package throws. Match on `code`, which is stable; the message names the thing, the
 *  value and the remedy. HTTP and gRPC statuses are chosen by the front ends. */
export class SkeinError extends Error {
  readonly code: string;
  /** Plain data for logs and for the wire: numbers, names; never secrets, never prompt text. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: SkeinErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
  }
}

export interface SkeinErrorOptions {
  readonly cause?: unknown;
  readonly details?: Readonly<Record<string, unknown>>;
}
