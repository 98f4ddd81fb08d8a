import { MessageBusError } from './errors.ts';

/** Nesting allowed in a message, on both sides of the wire. */
export const DEPTH_MAX = 32;

/** Throws ERR_NOT_ENCODABLE, naming the place, for anything that would arrive as something else: functions, class
 *  instances, Map, Set, Date, bigint, typed arrays other than Uint8Array, cycles. An `undefined` property is left out and
 *  an `undefined` element becomes null, as in JSON. */
export function checkPlainData(value: unknown, path = 'message', depth = 0): void {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
    case 'undefined':
      return;
    case 'object':
      break;
    default:
      throw notEncodable(path, `a ${typeof value}`);
  }
  if (value === null || value instanceof Uint8Array) return;
  if (depth >= DEPTH_MAX) throw notEncodable(path, `nested deeper than ${DEPTH_MAX}`);
  if (Array.isArray(value)) {
    for (const [index, element] of value.entries()) checkPlainData(element, `${path}[${index}]`, depth + 1);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw notEncodable(path, `a ${nameOf(value)}`);
  for (const [key, property] of Object.entries(value)) checkPlainData(property, `${path}.${key}`, depth + 1);
}

function nameOf(value: object): string {
  return typeof value.constructor === 'function' ? value.constructor.name : 'class instance';
}

function notEncodable(path: string, what: string): MessageBusError {
  const place = path.length > 200 ? `${path.slice(0, 200)}…` : path;
  return new MessageBusError('ERR_NOT_ENCODABLE', `${place} is ${what}: messages are plain data and Uint8Array`);
}
