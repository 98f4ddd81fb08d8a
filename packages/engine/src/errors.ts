import { SkeinError } from '@skein/protocol';

/** Every way the engine can refuse or fail a request. `ERR_ABORTED` is the caller's own doing; the rest are outcomes. */
export type EngineErrorCode =
  | 'ERR_INVALID_REQUEST'
  | 'ERR_PROMPT_TOO_LONG'
  | 'ERR_OVERLOADED'
  | 'ERR_DRAINING'
  | 'ERR_ENGINE_LOST'
  | 'ERR_ABORTED'
  | 'ERR_INTERNAL';

export class EngineError extends SkeinError {
  declare readonly code: EngineErrorCode;

  // Narrows the code, so that a misspelt one does not compile.
  constructor(
    code: EngineErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(code, message, options);
  }
}

/** Thrown by an Executor whose steps can never finish: a stage died, or the group is being re-formed. */
export class ExecutorLostError extends SkeinError {
  constructor(
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super('ERR_EXECUTOR_LOST', message, options);
  }
}

/** For our own invariants only: a failure here is a bug in this package. */
export function assert(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new EngineError('ERR_INTERNAL', message());
}
