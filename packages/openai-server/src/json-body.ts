import { ApiError, invalidBody } from './errors.ts';

export interface JsonLimits {
  readonly maxDepth: number;
  /** Values, keys aside. */
  readonly maxNodes: number;
}

const jsonTypes = /^application\/(json|[\w.+-]+\+json)\s*(;|$)/i;

/** Parses a request body: UTF-8, JSON, within the limits. The limits are checked before anything is built from the bytes.
 *  NaN and Infinity, which JSON has not and some writers write, become an infinite number: then the field's own bounds
 *  refuse it by name. */
export function parseJsonBody(body: Buffer, contentType: string | undefined, limits: JsonLimits): unknown {
  if (!jsonTypes.test(contentType ?? '')) {
    throw new ApiError(415, 'UnsupportedMediaTypeError', "Unsupported Media Type: Only 'application/json' is allowed");
  }
  const constants = scan(body, limits);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(withoutConstants(body, constants));
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

/** A number beyond a double's range, which parses to Infinity. */
const infinite = Buffer.from('1e999');
const constantWords = [Buffer.from('NaN'), Buffer.from('Infinity')];

/** Checks the limits. @returns where NaN and Infinity stand, outside of strings. */
function scan(body: Buffer, { maxDepth, maxNodes }: JsonLimits): number[] {
  const constants: number[] = [];
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
    } else if ((byte === 0x4e || byte === 0x49) && constants.push(i) > maxNodes) {
      throw invalidBody('The body is not valid JSON.', 'body');
    }
  }
  return constants;
}

function withoutConstants(body: Buffer, constants: readonly number[]): Buffer {
  if (constants.length === 0) return body;
  const parts: Buffer[] = [];
  let from = 0;
  for (const at of constants) {
    const word = constantWords.find((one) => one.equals(body.subarray(at, at + one.length)));
    if (word === undefined || at < from) continue;
    parts.push(body.subarray(from, at), infinite);
    from = at + word.length;
  }
  return Buffer.concat([...parts, body.subarray(from)]);
}
