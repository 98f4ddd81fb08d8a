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

/** What each stage of a split costs. */
export function stageCosts({ blocks, head }: BlockCosts, ranges: readonly LayerRange[]): number[] {
  return ranges.map(([first, end], stage) =>
    blocks.slice(2 * first, 2 * end).reduce((a, b) => a + b, stage === ranges.length - 1 ? head : 0),
  );
}

/** The split of `partition`, or the even one. Throws StageSplitError. @param paces time per cost, by stage; all alike without. */
export function stageBalance(
  costs: BlockCosts,
  stages: number,
  partition: readonly number[] | null,
  paces: readonly number[] = [],
): StageBalance {
  const ranges = stageLayers(costs.blocks.length / 2, stages, partition);
  const times = stageCosts(costs, ranges).map((cost, stage) => cost * (paces[stage] ?? 1));
  return { partition: ranges.map(([first, end]) => end - first), slowest: Math.max(...times) };
}

/** Of the splits whose slowest stage costs hardly more than it must, the one that cuts fewest layers; of these the one whose slowest
 *  costs least, and of equal ones the one that keeps its first stages largest. Throws StageSplitError. @param paces time per cost, by stage; all
 *  alike without. */
export function balancedStages(costs: BlockCosts, stages: number, paces: readonly number[] = []): StageBalance {
  const least = cutBlocks(costs, stages, { paces, slowestMax: Infinity, cutCost: 0 });
  const chosen = cutBlocks(costs, stages, { paces, slowestMax: least.slowest * (1 + HALF_GAIN_MIN), cutCost: 1 });
  return stageBalance(
    costs,
    stages,
    chosen.ends.map((end, i) => (end - (chosen.ends[i - 1] ?? 0)) / 2),
    paces,
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

/** The split with fewest `cuts`, then the least `slowest`, then the largest first stages, of those whose stages take `slowestMax`
 *  at most. */
function cutBlocks(
  { blocks, head }: BlockCosts,
  stages: number,
  of: { readonly paces: readonly number[]; readonly slowestMax: number; readonly cutCost: number },
): Tail {
  const { paces, slowestMax, cutCost } = of;
  const count = blocks.length;
  const before = [0];
  for (const [i, block] of blocks.entries()) before.push((before[i] ?? 0) + block);
  const time = (first: number, end: number, stage: number): number =>
    ((before[end] ?? 0) - (before[first] ?? 0) + (stage === stages - 1 ? head : 0)) * (paces[stage] ?? 1);
  // tails[l]: the best of the last stages that hold the blocks from l on, of one more stage in each round.
  let tails = before.map((_, first): Tail => ({ slowest: time(first, count, stages - 1), cuts: 0, ends: [count] }));
  for (let stage = stages - 2; stage >= 0; stage--) {
    tails = before.map((_, first) => {
      let best = IMPOSSIBLE;
      for (let end = count - (stages - 1 - stage); end > first; end--) {
        const rest = tails[end] ?? IMPOSSIBLE;
        const slowest = Math.max(time(first, end, stage), rest.slowest);
        const cuts = rest.cuts + (end % 2) * cutCost;
        const isBetter = cuts < best.cuts || (cuts === best.cuts && slowest < best.slowest);
        if (slowest <= slowestMax && isBetter) best = { slowest, cuts, ends: [end, ...rest.ends] };
      }
      return best;
    });
  }
  return tails[0] ?? IMPOSSIBLE;
}
