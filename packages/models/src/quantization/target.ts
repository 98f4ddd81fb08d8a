/** What a target that is a regular expression begins with. */
export const REGEX_PREFIX = 're:';

/** A target's expression, which has to match from a name's beginning on; null when JavaScript does not have it. */
export function targetRegex(target: string): RegExp | null {
  try {
    return new RegExp(`^(?:${target.slice(REGEX_PREFIX.length)})`);
  } catch {
    return null;
  }
}

export interface TargetedModule {
  readonly name: string;
  /** In PyTorch. */
  readonly className: 'Linear' | 'Embedding';
}

/** Targets of compressed-tensors, each with a value. */
export class Targets<T> {
  readonly #exact = new Map<string, T>();
  readonly #regexes: (readonly [RegExp, T])[] = [];

  constructor(entries: Iterable<readonly [target: string, value: T]>) {
    for (const [target, value] of entries) {
      const regex = target.startsWith(REGEX_PREFIX) ? targetRegex(target) : null;
      if (regex !== null) this.#regexes.push([regex, value]);
      else if (!this.#exact.has(target)) this.#exact.set(target, value);
    }
  }

  /** Of the target that names a module most closely: by its name, else by an expression, else by its class; the first of those
   *  that are alike. Null when none does. */
  find({ name, className }: TargetedModule): T | null {
    const byRegex = (): T | undefined => this.#regexes.find(([regex]) => regex.test(name))?.[1];
    return this.#exact.get(name) ?? byRegex() ?? this.#exact.get(className) ?? null;
  }
}
