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

/** How closely a target of compressed-tensors names a module: 3 by its name, 2 by an expression, 1 by its class, 0 not. */
export function targetRank(target: string, { name, className }: TargetedModule): 0 | 1 | 2 | 3 {
  if (target === name) return 3;
  if (target.startsWith(REGEX_PREFIX)) return targetRegex(target)?.test(name) ? 2 : 0;
  return target === className ? 1 : 0;
}
