import { StageSplitError } from './errors.ts';

/** Where a stage begins and ends, in layers. A half lies between the attention of a layer and its feed-forward: [2, 4.5] holds
 *  layers 2 and 3 and the attention of layer 4, [4.5, 6] begins with the feed-forward of layer 4. */
export type LayerRange = readonly [first: number, end: number];

/** A half of a layer. Each takes the residual stream and gives it. */
export interface LayerBlock {
  /** Index in the model. */
  readonly layer: number;
  readonly kind: 'attention' | 'feedForward';
}

/** What a stage computes, in order. */
export function layerBlocks([first, end]: LayerRange): LayerBlock[] {
  const blocks: LayerBlock[] = [];
  for (let at = first; at < end; at += 0.5)
    blocks.push({ layer: Math.floor(at), kind: Number.isInteger(at) ? 'attention' : 'feedForward' });
  return blocks;
}

export function hasBlock([first, end]: LayerRange, { layer, kind }: LayerBlock): boolean {
  const at = kind === 'attention' ? layer : layer + 0.5;
  return first <= at && at < end;
}

/** Splits layers over pipeline stages by vLLM's rule: evenly, and leftover layers go one each to the stages counted back
 *  from the second-to-last, since the last also has the logits to compute. `partition` (layers per stage, in halves)
 *  overrides it. */
export function stageLayers(numLayers: number, numStages: number, partition: readonly number[] | null): LayerRange[] {
  if (!Number.isInteger(numStages) || numStages < 1 || numStages > numLayers) {
    throw new StageSplitError(
      `${numLayers} layers cannot be split over ${numStages} pipeline stages; choose between 1 and ${numLayers} stages`,
      {
        details: { numLayers, numStages },
      },
    );
  }
  const counts = partition ?? evenCounts(numLayers, numStages);
  if (partition !== null) checkPartition(partition, numLayers, numStages);
  let first = 0;
  return counts.map((count) => [first, (first += count)]);
}

function evenCounts(numLayers: number, numStages: number): number[] {
  const each = Math.floor(numLayers / numStages);
  const leftover = numLayers % numStages;
  return Array.from(
    { length: numStages },
    (_, i) => each + (i >= numStages - 1 - leftover && i < numStages - 1 ? 1 : 0),
  );
}

function checkPartition(partition: readonly number[], numLayers: number, numStages: number): void {
  const details = { partition, numLayers, numStages };
  if (partition.length !== numStages) {
    throw new StageSplitError(
      `the layer partition ${partition.join(',')} has ${partition.length} entries for ${numStages} pipeline stages; give one for each`,
      { details },
    );
  }
  const bad = partition.find((n) => !Number.isInteger(2 * n) || n < 0.5);
  if (bad !== undefined)
    throw new StageSplitError(
      `the layer partition ${partition.join(',')} holds ${bad}; give every stage at least half a layer, in steps of a half`,
      { details },
    );
  const sum = partition.reduce((a, b) => a + b, 0);
  if (sum !== numLayers)
    throw new StageSplitError(
      `the layer partition ${partition.join(',')} adds up to ${sum} layers; the model has ${numLayers}`,
      { details },
    );
}
