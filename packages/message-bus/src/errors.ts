import { type Identity, SkeinError, type SkeinErrorOptions } from '@skein/protocol';

/** Every way the bus itself can fail. A handler's own errors arrive as RemoteError with the handler's code. */
export type MessageBusErrorCode =
  | 'ERR_ABORTED'
  | 'ERR_ADDRESS'
  | 'ERR_CLOSED'
  | 'ERR_DEADLINE'
  | 'ERR_DISCONNECTED'
  | 'ERR_GAP'
  | 'ERR_GROUP_KEY'
  | 'ERR_HANDLER'
  | 'ERR_MALFORMED'
  | 'ERR_MESSAGE_TOO_LARGE'
  | 'ERR_NATS_SERVER'
  | 'ERR_NATS_SERVER_MISSING'
  | 'ERR_NOT_ENCODABLE'
  | 'ERR_NO_RESPONDER'
  | 'ERR_OVERLOADED'
  | 'ERR_SLOW_READER'
  | 'ERR_SUBJECT';

export class MessageBusError extends SkeinError {
  declare readonly code: MessageBusErrorCode;

  // Narrows the code, so that a misspelt one does not compile.
  constructor(code: MessageBusErrorCode, message: string, options: SkeinErrorOptions = {}) {
    super(code, message, options);
  }
}

/** Thrown by a handler in another process: `code`, `message` and `details` are the thrower's, `from` says who it was. */
export class RemoteError extends SkeinError {
  readonly from: Identity;

  constructor(code: string, message: string, options: RemoteErrorOptions) {
    super(code, message, { details: options.details });
    this.from = options.from;
  }
}

export interface RemoteErrorOptions {
  readonly from: Identity;
  readonly details: Readonly<Record<string, unknown>>;
}
