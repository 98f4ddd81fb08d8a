/** One figure of a run; fields without a meaning for it are null. */
export interface BenchResult {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the value stands beside, measured in the same run, in the same unit. */
  readonly peer: string | null;
  readonly peerValue: number | null;
  /** value / peerValue. */
  readonly ratio: number | null;
  /** The ratio that is aimed for; without a peer, the share of the limit. */
  readonly goal: number | null;
  /** What the hardware allows, measured in the same run, in the same unit. */
  readonly limit: number | null;
  readonly limitShare: number | null;
  /** The share that is aimed for beside a goal for the ratio. */
  readonly limitGoal: number | null;
}

export type BenchFigure = Pick<BenchResult, 'name' | 'value' | 'unit'> & Partial<BenchResult>;

/** A group of benches that share a set-up; `progress` takes one line at a time. */
export type BenchGroup = (progress: (line: string) => void) => Promise<BenchResult[]>;

/** Fills in what follows from the rest. `ratio` and `limitShare` may be given where they are medians of their own. */
export function benchResult(figure: BenchFigure): BenchResult {
  const { value, peer = null, peerValue = null, goal = null, limit = null } = figure;
  return {
    name: figure.name,
    value: rounded(value),
    unit: figure.unit,
    peer,
    peerValue: peerValue === null ? null : rounded(peerValue),
    ratio: peerValue === null ? null : rounded(figure.ratio ?? value / peerValue),
    goal,
    limit: limit === null ? null : rounded(limit),
    limitShare: limit === null ? null : rounded(figure.limitShare ?? value / limit),
    limitGoal: figure.limitGoal ?? null,
  };
}

function rounded(value: number): number {
  if (!Number.isFinite(value)) throw new Error(`a figure is ${value}: nothing was measured`);
  return Number(value.toPrecision(4));
}
