import { StageSplitError } from './errors.ts';

/** First layer of a stage, and one past its last. */
export type LayerRange = readonly [first: number, end: number];

/** Splits layers over pipeline stages by vLLM's rule: evenly, and leftover layers go one each to the stages counted back
 *  from the second-to-last, since the last also has the logits to compute. `partition` (layers per stage) overrides it. */
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
  const bad = partition.find((n) => !Number.isInteger(n) || n < 1);
  if (bad !== undefined)
    throw new StageSplitError(
      `the layer partition ${partition.join(',')} holds ${bad}; every stage needs at least one layer`,
      { details },
    );
  const sum = partition.reduce((a, b) => a + b, 0);
  if (sum !== numLayers)
    throw new StageSplitError(
      `the layer partition ${partition.join(',')} adds up to ${sum} layers; the model has ${numLayers}`,
      { details },
    );
}
