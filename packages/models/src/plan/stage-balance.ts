import { type LayerRange, stageLayers } from '../stage-layers.ts';

/** What a decode step costs: bytes it reads. Embedding reads a row, which is next to nothing. */
export interface BlockCosts {
  /** Of the attention and the feed-forward of each layer in turn. */
  readonly blocks: readonly number[];
  /** Of the last stage alone: final norm and logits. */
  readonly head: number;
}

export interface StageBalance {
  /** Layers of each stage, in halves. */
  readonly partition: readonly number[];
  /** Of the slowest stage, which the others wait for. */
  readonly slowest: number;
}

/** What cuts between the attention of a layer and its feed-forward must gain over others, so that layers stay whole where that is
 *  as good. */
const HALF_GAIN_MIN = 0.01;

/** The split of `partition`, or the even one. Throws StageSplitError. */
export function stageBalance(costs: BlockCosts, stages: number, partition: readonly number[] | null): StageBalance {
  const ranges = stageLayers(costs.blocks.length / 2, stages, partition);
  return { partition: ranges.map(([first, end]) => end - first), slowest: slowestOf(costs, ranges) };
}

/** Of the splits whose slowest stage costs hardly more than it must, the one that cuts fewest layers; of these the one whose slowest
 *  costs least, and of equal ones the one that keeps its first stages largest. Throws StageSplitError. */
export function balancedStages(costs: BlockCosts, stages: number): StageBalance {
  const least = cutBlocks(costs, stages, { slowestMax: Infinity, cutCost: 0 });
  const chosen = cutBlocks(costs, stages, { slowestMax: least.slowest * (1 + HALF_GAIN_MIN), cutCost: 1 });
  return stageBalance(
    costs,
    stages,
    chosen.ends.map((end, i) => (end - (chosen.ends[i - 1] ?? 0)) / 2),
  );
}

/** The last stages of a split. */
interface Tail {
  readonly slowest: number;
  /** Layers that it cuts, each times what a cut costs. */
  readonly cuts: number;
  /** One past the last block of each stage. */
  readonly ends: readonly number[];
}

const IMPOSSIBLE: Tail = { slowest: Infinity, cuts: Infinity, ends: [] };

/** The split with fewest `cuts`, then the least `slowest`, then the largest first stages, of those whose stages cost `slowestMax`
 *  at most. */
function cutBlocks(
  { blocks, head }: BlockCosts,
  stages: number,
  { slowestMax, cutCost }: { readonly slowestMax: number; readonly cutCost: number },
): Tail {
  const count = blocks.length;
  const before = [0];
  for (const [i, block] of blocks.entries()) before.push((before[i] ?? 0) + block);
  const cost = (first: number, end: number): number => (before[end] ?? 0) - (before[first] ?? 0);
  // tails[l]: the best of the last stages that hold the blocks from l on, of one more stage in each round.
  let tails = before.map((_, first): Tail => ({ slowest: cost(first, count) + head, cuts: 0, ends: [count] }));
  for (let s = 2; s <= stages; s++) {
    tails = before.map((_, first) => {
      let best = IMPOSSIBLE;
      for (let end = count - s + 1; end > first; end--) {
        const rest = tails[end] ?? IMPOSSIBLE;
        const slowest = Math.max(cost(first, end), rest.slowest);
        const cuts = rest.cuts + (end % 2) * cutCost;
        const isBetter = cuts < best.cuts || (cuts === best.cuts && slowest < best.slowest);
        if (slowest <= slowestMax && isBetter) best = { slowest, cuts, ends: [end, ...rest.ends] };
      }
      return best;
    });
  }
  return tails[0] ?? IMPOSSIBLE;
}

function slowestOf({ blocks, head }: BlockCosts, ranges: readonly LayerRange[]): number {
  const costs = ranges.map(([first, end]) => blocks.slice(2 * first, 2 * end).reduce((a, b) => a + b, 0));
  return Math.max(...costs.map((cost, i) => cost + (i === costs.length - 1 ? head : 0)));
}
