export function median(samples: readonly number[]): number {
  return percentile(samples, 50);
}

/** By linear interpolation between the two nearest samples; NaN of none.
 *  @param percent 0 to 100. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = ((sorted.length - 1) * percent) / 100;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}
