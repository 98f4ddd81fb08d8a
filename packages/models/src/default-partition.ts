import { balancedStages, type BlockCosts, stageBalance, stageCosts } from './plan/stage-balance.ts';
import type { LayerRange } from './stage-layers.ts';

/** What the slowest stage must gain over an even split, so that stages that are as good as even stay even. */
const GAIN_MIN = 0.02;
/** The same, over a split whose stages were timed: to load weights anew for, and more than clocks differ by. */
const MEASURED_GAIN_MIN = 0.05;

/** Layers of each stage, in halves, where nobody says: those that make the slowest stage fastest, by the bytes that a decode step reads, the
 *  head of the last stage included. Null is even. Throws StageSplitError. */
export function defaultPartition(costs: BlockCosts, stages: number): readonly number[] | null {
  const even = stageBalance(costs, stages, null);
  const balanced = balancedStages(costs, stages);
  return balanced.slowest < even.slowest * (1 - GAIN_MIN) ? balanced.partition : null;
}

/** Layers of each stage, in halves, that make the slowest stage fastest, by how long each stage of `layers` takes for a step: a stage
 *  keeps its pace, whatever blocks it has. Null where these layers are about as good. */
export function measuredPartition(
  costs: BlockCosts,
  layers: readonly LayerRange[],
  microseconds: readonly number[],
): readonly number[] | null {
  const paces = stageCosts(costs, layers).map((cost, stage) => (microseconds[stage] ?? 0) / cost);
  const best = balancedStages(costs, layers.length, paces);
  return best.slowest < Math.max(...microseconds) * (1 - MEASURED_GAIN_MIN) ? best.partition : null;
}
