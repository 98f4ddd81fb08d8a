import { ApiError, invalidBody } from './errors.ts';

export interface JsonLimits {
  readonly maxDepth: number;
  /** Values, keys aside. */
  readonly maxNodes: number;
}

const jsonTypes = /^application\/(json|[\w.+-]+\+json)\s*(;|$)/i;

/** Parses a request body: UTF-8, JSON, within the limits. The limits are checked before anything is built from the bytes. */
export function parseJsonBody(body: Buffer, contentType: string | undefined, limits: JsonLimits): unknown {
  if (!jsonTypes.test(contentType ?? '')) {
    throw new ApiError(415, 'UnsupportedMediaTypeError', "Unsupported Media Type: Only 'application/json' is allowed");
  }
  checkShape(body, limits);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw invalidBody('The body is not valid UTF-8.', 'body');
  }
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message would quote the body.
    throw invalidBody('The body is not valid JSON.', 'body');
  }
}

const quote = 0x22;
const backslash = 0x5c;

function checkShape(body: Buffer, { maxDepth, maxNodes }: JsonLimits): void {
  let depth = 0;
  let nodes = 1;
  let inString = false;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i];
    if (inString) {
      if (byte === backslash) i++;
      else if (byte === quote) inString = false;
    } else if (byte === quote) {
      inString = true;
    } else if (byte === 0x7b || byte === 0x5b) {
      nodes++;
      if (++depth > maxDepth) throw invalidBody(`The body is nested deeper than ${maxDepth} levels.`, 'body');
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
    } else if (byte === 0x2c && ++nodes > maxNodes) {
      throw invalidBody(`The body holds more than ${maxNodes} values.`, 'body');
    }
  }
}
