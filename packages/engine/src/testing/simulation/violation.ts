/** An invariant that does not hold. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function hold(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Violation(message());
}
