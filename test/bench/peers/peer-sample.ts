import { type BenchResult, benchResult } from '../bench-result.ts';
import { median, percentile } from '../statistics.ts';
import type { PeerCase } from './cases.ts';

/** One round of one case, in tokens a second. */
export interface PeerSample {
  readonly value: number;
  readonly peerValue: number;
  /** What the hardware allowed at that time. */
  readonly limit: number | null;
  /** Cores that processes of others took meanwhile. */
  readonly foreignCores: number;
}

/** Medians of all rounds; those of ratio and share are of rounds, since both sides drift together on a shared machine. */
export function peerResult(spec: PeerCase, peer: string, samples: readonly PeerSample[]): BenchResult {
  const limits = samples.flatMap(({ limit }) => limit ?? []);
  const shares = samples.flatMap(({ value, limit }) => (limit === null ? [] : [value / limit]));
  return benchResult({
    name: spec.name,
    unit: 'tok/s',
    value: median(samples.map(({ value }) => value)),
    peer,
    peerValue: median(samples.map(({ peerValue }) => peerValue)),
    ratio: median(samples.map(ratioOf)),
    goal: spec.goal,
    ...(limits.length > 0 ? { limit: median(limits), limitShare: median(shares), limitGoal: spec.limitGoal } : {}),
  });
}

export function ratioOf({ value, peerValue }: PeerSample): number {
  return value / peerValue;
}

/** How far the rounds of a case lie apart: '0.98 to 1.21'. */
export function spread(values: readonly number[]): string {
  return `${percentile(values, 0).toPrecision(3)} to ${percentile(values, 100).toPrecision(3)}`;
}
