import { SkeinError } from '@skein/protocol';

/** An answer that is an error. Thrown by handlers; the HTTP server writes it. Messages here reach clients: they name fields
 *  and numbers, never paths, addresses or another request's data. */
export class ApiError extends SkeinError {
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(status: number, type: string, message: string, options: ApiErrorOptions = {}) {
    super(options.code ?? 'ERR_API', message, { cause: options.cause });
    this.status = status;
    this.type = type;
    this.param = options.param ?? null;
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }
}

export interface ApiErrorOptions {
  readonly param?: string;
  readonly code?: string;
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** The body is not what the schema asks for. `param` is `body.<field>`. */
export function invalidBody(message: string, param?: string): ApiError {
  return new ApiError(400, 'Bad Request', message, param === undefined ? {} : { param });
}

/** The body is well formed but asks for what cannot be. */
export function badRequest(message: string, param?: string): ApiError {
  return new ApiError(400, 'BadRequestError', message, param === undefined ? {} : { param });
}

export function notFound(message: string): ApiError {
  return new ApiError(404, 'NotFoundError', message);
}

export function unavailable(message: string, retryAfterSeconds = 1): ApiError {
  return new ApiError(503, 'ServiceUnavailableError', message, { retryAfterSeconds });
}

/** What a client may know of `error`. Anything unforeseen becomes a plain 500. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  switch (codeOf(error)) {
    case 'ERR_PROMPT_TOO_LONG':
    case 'ERR_INVALID_REQUEST':
      return new ApiError(400, 'BadRequestError', (error as Error).message, { cause: error });
    case 'ERR_OVERLOADED':
      return new ApiError(429, 'RateLimitError', 'The engine is overloaded; try again later.', {
        retryAfterSeconds: 1,
        cause: error,
      });
    case 'ERR_DRAINING':
      return new ApiError(503, 'ServiceUnavailableError', 'The server is shutting down.', {
        retryAfterSeconds: 1,
        cause: error,
      });
    case 'ERR_ENGINE_LOST':
      return new ApiError(503, 'ServiceUnavailableError', 'The engine was lost; try again.', {
        retryAfterSeconds: 1,
        cause: error,
      });
    default:
      return new ApiError(500, 'InternalServerError', 'Internal server error.', { cause: error });
  }
}

/** `{"error": {...}}` as vLLM writes it; `requestId` is added to errors inside a stream, which have no headers. */
export function errorBody(error: ApiError, requestId?: string): { readonly error: Readonly<Record<string, unknown>> } {
  const { message, type, param, status } = error;
  return {
    error: { message, type, param, code: status, ...(requestId === undefined ? {} : { request_id: requestId }) },
  };
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
