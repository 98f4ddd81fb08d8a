import { type LayerRange, stageLayers } from '../stage-layers.ts';

/** What a decode step costs: bytes it reads. Embedding reads a row, which is next to nothing. */
export interface LayerCosts {
  readonly layers: readonly number[];
  /** Of the last stage alone: final norm and logits. */
  readonly head: number;
}

export interface StageBalance {
  /** Layers of each stage. */
  readonly partition: readonly number[];
  /** Of the slowest stage, which the others wait for. */
  readonly slowest: number;
}

/** The split of `partition`, or the even one. Throws StageSplitError. */
export function stageBalance(costs: LayerCosts, stages: number, partition: readonly number[] | null): StageBalance {
  const ranges = stageLayers(costs.layers.length, stages, partition);
  return { partition: ranges.map(([first, end]) => end - first), slowest: slowestOf(costs, ranges) };
}

/** The split whose slowest stage costs least; of equal ones the one that keeps its first stages largest. */
export function balancedStages(costs: LayerCosts, stages: number): StageBalance {
  const { layers } = costs;
  const numLayers = layers.length;
  const before = [0, ...layers.map((_, i) => layers.slice(0, i + 1).reduce((a, b) => a + b, 0))];
  const cost = (first: number, end: number): number => (before[end] ?? 0) - (before[first] ?? 0);
  // best[s][l]: the least slowest of the last s stages that hold the layers from l on, and where their first one ends.
  let best = before.map((_, first) => ({ slowest: cost(first, numLayers) + costs.head, ends: [numLayers] }));
  for (let s = 2; s <= stages; s++) {
    best = before.map((_, first) => {
      let chosen = { slowest: Infinity, ends: [] as number[] };
      for (let end = numLayers - s + 1; end > first; end--) {
        const rest = best[end];
        if (rest === undefined) continue;
        const slowest = Math.max(cost(first, end), rest.slowest);
        if (slowest < chosen.slowest) chosen = { slowest, ends: [end, ...rest.ends] };
      }
      return chosen;
    });
  }
  const ends = best[0]?.ends ?? [];
  return stageBalance(
    costs,
    stages,
    ends.map((end, i) => end - (ends[i - 1] ?? 0)),
  );
}

function slowestOf({ layers, head }: LayerCosts, ranges: readonly LayerRange[]): number {
  const costs = ranges.map(([first, end]) => layers.slice(first, end).reduce((a, b) => a + b, 0));
  return Math.max(...costs.map((cost, i) => cost + (i === costs.length - 1 ? head : 0)));
}
