import { MessageBusError } from './errors.ts';

/** Of a caller's subjects; the carriers' own have a prefix more. */
const SUBJECT_BYTES_MAX = 200;
const ADDRESS_BYTES_MAX = 255;
const SUBJECT = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;

/** A subject is tokens of [A-Za-z0-9_-]+ joined by dots, 200 bytes at most. @throws ERR_SUBJECT. */
export function checkSubject(subject: string): string {
  if (subject.length > SUBJECT_BYTES_MAX || !isSubject(subject)) throw badSubject(subject);
  return subject;
}

/** A pattern is a subject, or a subject and `.>`, which takes everything below it and not the subject itself. */
export function checkPattern(pattern: string): string {
  if (pattern.length > SUBJECT_BYTES_MAX || !isPattern(pattern)) throw badSubject(pattern);
  return pattern;
}

export function isSubject(subject: string): boolean {
  return subject.length <= ADDRESS_BYTES_MAX && SUBJECT.test(subject);
}

export function isPattern(pattern: string): boolean {
  return isSubject(pattern.endsWith('.>') ? pattern.slice(0, -2) : pattern);
}

/** True when `key` is `prefix` or lies under it, by whole tokens. */
export function isUnder(prefix: string, key: string): boolean {
  return key === prefix || (key.startsWith(prefix) && key[prefix.length] === '.');
}

function badSubject(subject: string): MessageBusError {
  const shown = subject.length > 80 ? `${subject.slice(0, 80)}…` : subject;
  return new MessageBusError(
    'ERR_SUBJECT',
    `${JSON.stringify(shown)} is no subject: use tokens of [A-Za-z0-9_-]+ joined by dots, ${SUBJECT_BYTES_MAX} bytes at most`,
  );
}

/** Finds who listens to a subject: an exact look-up and one for each of its prefixes, so the cost does not grow with the
 *  number of listeners. */
export class SubjectTable<T> {
  readonly #listeners = new Map<string, Set<T>>();

  /** @returns true when this is the pattern's first listener. */
  add(pattern: string, listener: T): boolean {
    const listeners = this.#listeners.get(pattern);
    if (listeners) {
      listeners.add(listener);
      return false;
    }
    this.#listeners.set(pattern, new Set([listener]));
    return true;
  }

  /** @returns true when it was the pattern's last listener. */
  delete(pattern: string, listener: T): boolean {
    const listeners = this.#listeners.get(pattern);
    if (!listeners?.delete(listener) || listeners.size > 0) return false;
    this.#listeners.delete(pattern);
    return true;
  }

  /** The listeners of exactly this pattern. */
  of(pattern: string): Iterable<T> {
    return this.#listeners.get(pattern) ?? [];
  }

  /** Each listener once, whatever number of its patterns match. */
  match(subject: string): Set<T> {
    const matched = new Set(this.#listeners.get(subject));
    for (let dot = subject.lastIndexOf('.'); dot > 0; dot = subject.lastIndexOf('.', dot - 1)) {
      for (const listener of this.#listeners.get(`${subject.slice(0, dot)}.>`) ?? []) matched.add(listener);
    }
    return matched;
  }

  patterns(): Iterable<string> {
    return this.#listeners.keys();
  }

  has(pattern: string): boolean {
    return this.#listeners.has(pattern);
  }

  get size(): number {
    return this.#listeners.size;
  }

  clear(): void {
    this.#listeners.clear();
  }
}
