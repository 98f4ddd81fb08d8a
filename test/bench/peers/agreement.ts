import type { LikelyToken } from '../timed-program.ts';

/** How alike the logits of two sides are. */
export interface Agreement {
  readonly positions: number;
  /** Positions at which both have the same likeliest token. */
  readonly sameLikeliest: number;
  /** The largest difference of a likely token's distance to the likeliest, in logits. */
  readonly gapDifferenceMax: number;
  /** The median distance of the second to the first: what the difference stands beside. */
  readonly gapMedian: number;
}

/** Compares the likeliest tokens at the same positions, likeliest first. Only distances between logits of a position are
 *  compared, since logprobs are logits moved by a number. */
export function agreement(a: readonly LikelyToken[][], b: readonly LikelyToken[][]): Agreement {
  let sameLikeliest = 0;
  let gapDifferenceMax = 0;
  const gaps: number[] = [];
  for (const [position, ofA] of a.entries()) {
    const ofB = new Map(b[position]?.map(({ tokenId, logit }) => [tokenId, logit]));
    const [first, second] = ofA;
    if (first === undefined || second === undefined) continue;
    if (b[position]?.[0]?.tokenId === first.tokenId) sameLikeliest++;
    gaps.push(first.logit - second.logit);
    const top = ofB.get(first.tokenId);
    for (const { tokenId, logit } of ofA) {
      const other = ofB.get(tokenId);
      if (top === undefined || other === undefined) continue;
      gapDifferenceMax = Math.max(gapDifferenceMax, Math.abs(first.logit - logit - (top - other)));
    }
  }
  gaps.sort((x, y) => x - y);
  return { positions: a.length, sameLikeliest, gapDifferenceMax, gapMedian: gaps[gaps.length >> 1] ?? 0 };
}
