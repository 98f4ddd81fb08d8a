/** The name that `typed` may have been meant for: fewest edits, at most a third of its length; null when none is near. */
export function closest(typed: string, names: readonly string[]): string | null {
  let best: string | null = null;
  let bestEdits = Math.floor(typed.length / 3) + 1;
  for (const name of names) {
    // A name cut short or run on is near, however much is missing.
    const edits = name.startsWith(typed) || typed.startsWith(name) ? 1 : numEdits(typed, name);
    if (edits < bestEdits) [best, bestEdits] = [name, edits];
  }
  return best;
}

/** Insertions, deletions and replacements from `a` to `b`. */
function numEdits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
