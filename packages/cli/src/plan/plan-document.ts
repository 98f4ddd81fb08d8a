import { type Recommendation, type SizedFormation, stageLayers, usableBytes, usedBytes } from '@skein/models';
import { degreeFlags, groupLayout, loadFlags } from './group-layout.ts';

/** What `skein plan --json` prints; sizes are bytes. */
export function planDocument(plan: Recommendation, model: string): object {
  const { planning, facts, chosen, others, least, reasons, rate, balance } = plan;
  const { devices, load, checkpoint } = planning;
  const { pipeline, layerPartition } = chosen.degrees;
  const layers = stageLayers(facts.numLayers, pipeline, layerPartition);
  const { costs: _, ...model_ } = facts;
  return {
    model: { name: checkpoint.name, isAssumed: checkpoint.isAssumed, quantization: checkpoint.quantization, ...model_ },
    devices: { ...devices, usableBytes: usableBytes(devices) },
    load: { context: load.context, kvCacheDtype: load.kvDtype, blockSize: load.blockSize, ...load.limits },
    formation: chosen.degrees,
    reasons,
    ranks: chosen.ranks.map((rank) => ({
      ...rank,
      layers: layers[rank.stage],
      kvCacheBytes: rank.kvTokenBytes * load.blockSize * chosen.kvBlocks,
      usedBytes: usedBytes(rank, chosen.kvBlocks, load.blockSize),
    })),
    kvBlocks: chosen.kvBlocks,
    sequences: chosen.sequences,
    least: summary(least),
    others: others.map(summary),
    rate,
    balance,
    commands: { up: ['skein', 'up', ...clusterArgs(plan, model)] },
    leaderWorkerSet: groupLayout(plan),
  };
}

/** Arguments of `skein up` for the whole formation on one machine. */
export function clusterArgs(plan: Recommendation, model: string): string[] {
  return [model, ...degreeFlags(plan, 'cluster'), ...loadFlags(plan)];
}

function summary({ degrees, ranks, sequences, weightShare }: SizedFormation): object {
  return { ...degrees, weightBytes: Math.max(...ranks.map((rank) => rank.weightBytes)), weightShare, sequences };
}
