import { balancedStages, type BlockCosts, stageBalance } from './plan/stage-balance.ts';

/** What the slowest stage must gain over an even split, so that stages that are as good as even stay even. */
const GAIN_MIN = 0.02;

/** Layers of each stage, in halves, where nobody says: those that make the slowest stage fastest, by the bytes that a decode step reads, the
 *  head of the last stage included. Null is even. Throws StageSplitError. */
export function defaultPartition(costs: BlockCosts, stages: number): readonly number[] | null {
  const even = stageBalance(costs, stages, null);
  const balanced = balancedStages(costs, stages);
  return balanced.slowest < even.slowest * (1 - GAIN_MIN) ? balanced.partition : null;
}
