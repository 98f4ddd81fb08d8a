import {
  type BlockCosts,
  type ExpertPlacement,
  hasBlock,
  type KVCacheDtypeOption,
  kvBlockBytes,
  kvBlocksInBudget,
  type LayerRange,
  type ModelConfig,
  type QuantizationOption,
  rankCacheLayers,
  type RankChannel,
  rankChannels,
  stageLayers,
} from '@skein/models';
import type { KVCacheDtype } from '@skein/native';
import { FormationError } from '../errors.ts';
import { expertReplicas, type GroupShape, placeOf, type RankPlace } from '../group-shape.ts';
import type { LoadSpec, ThreadShare } from '../rank/rank-actor.ts';
import type { Member } from './membership.ts';

/** What each rank does, of one replica or of all that share their experts. Ranks are by their place among these. */
export interface FormationPlan {
  readonly places: readonly RankPlace[];
  /** By rank: which of the compute threads on its host are its own. Null where it has all of them: its pool shares what one loses. */
  readonly threads: readonly (ThreadShare | null)[];
  /** By stage. */
  readonly layers: readonly LayerRange[];
  readonly loads: readonly LoadSpec[];
  readonly channels: readonly ChannelPlan[];
  readonly warnings: readonly string[];
  /** Bytes of a KV block, by rank. */
  readonly blockBytes: readonly number[];
}

export interface ChannelPlan extends RankChannel {
  readonly name: string;
  readonly transport: 'shm' | 'tcp';
  readonly capacityBytes: number;
}

/** The residual stream of a chunk is large, parts of a value go in rounds. */
export const CHANNEL_CAPACITY_BYTES = { stage: 4 << 20, tensor: 1 << 20, experts: 1 << 20 } as const;

export interface FormationInput {
  readonly model: string;
  readonly config: ModelConfig;
  readonly kvCacheDtype: KVCacheDtypeOption;
  readonly kvDtype: KVCacheDtype;
  readonly quantization: QuantizationOption;
  readonly weightCache: string | null;
  readonly shape: GroupShape;
  /** In halves; null is even. */
  readonly layerPartition: readonly number[] | null;
  /** What blocks read, where stages are to be timed once they are loaded, and cut anew by that; else null. */
  readonly costsToMeasure: BlockCosts | null;
  /** Where the experts of layers are; in runs where a layer is left out. */
  readonly expertPlacements: readonly ExpertPlacement[];
  readonly maxModelLen: number;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly maxNumRows: number;
  readonly maxLogprobs: number;
  readonly blockSize: number;
  /** Of each rank; null takes `memoryShare` of what the weights leave, measured once they are loaded. */
  readonly kvCacheBytes: number | null;
  /** Above 0, up to 1. */
  readonly memoryShare: number;
  /** Replicas formed by themselves on the same hosts. */
  readonly othersHere: number;
  readonly numBlocks: number | null;
}

/** Decides who does what, from the members of one replica or, where these share experts, of all, by their numbers, and the model.
 *  @throws FormationError with both values when members do not fit together. */
export function planFormation(members: readonly Member[], input: FormationInput): FormationPlan {
  const [first] = members;
  if (!first) throw new FormationError('ERR_FORMATION', 'a group has at least one member');
  for (const { advert } of members) {
    if (advert.revision !== first.advert.revision) {
      throw new FormationError(
        'ERR_REVISION',
        `worker ${advert.workerIndex} runs revision ${advert.revision}, worker ${first.advert.workerIndex} runs ${first.advert.revision}; start all from one image`,
      );
    }
  }
  const { stages, tensorSize, replicas, sharesExperts } = input.shape;
  const layers = stageLayers(input.config.numLayers, stages, input.layerPartition);
  const places = members.map(({ advert }) => placeOf(advert.rankIndex, input.shape));
  const blocksWanted = input.maxNumSeqs * Math.ceil(input.maxModelLen / input.blockSize);
  const block = { blockSize: input.blockSize, dtype: input.kvDtype };
  const ranks = places.map(({ replica, stage, tensorRank }) => ({
    expertReplica: sharesExperts ? { index: replica, count: replicas } : { index: 0, count: 1 },
    stage,
    range: layers[stage] ?? ([0, 0] as const),
    tensor: { rank: tensorRank, size: tensorSize },
  }));
  const blockBytes = ranks.map(({ range, tensor }) =>
    kvBlockBytes(rankCacheLayers(input.config, range, tensor), block),
  );
  const fit = members.map(({ advert }, rank) => {
    const budget = input.kvCacheBytes ?? advert.memoryBytes * input.memoryShare;
    return kvBlocksInBudget(budget, blockBytes[rank] ?? Infinity);
  });
  const numBlocks = input.numBlocks ?? Math.min(blocksWanted, ...fit);
  if (numBlocks < 1)
    throw new FormationError(
      'ERR_KV_CACHE',
      `a KV cache of ${input.kvCacheBytes ?? 'a share of the memory'} bytes holds no block of ${Math.max(...blockBytes)}; raise ${input.kvCacheBytes === null ? '--cpu-memory-utilization' : '--kv-cache-memory-bytes'}`,
    );
  const loads = ranks.map(({ expertReplica, stage, range, tensor }): LoadSpec => ({
    model: input.model,
    stages,
    stage,
    tensor,
    expertReplica,
    layers: [range[0], range[1]],
    expertPlacements: input.expertPlacements
      .filter(({ layer }) => hasBlock(range, { layer, kind: 'feedForward' }))
      .map(({ layer, owners }) => ({ layer, owners: owners.map((ranks) => [...ranks]) })),
    kvCacheDtype: input.kvCacheDtype,
    quantization: input.quantization,
    weightCache: input.weightCache,
    limits: {
      maxTokens: input.maxNumBatchedTokens,
      maxSeqs: input.maxNumSeqs,
      maxRows: input.maxNumRows,
      maxModelLen: input.maxModelLen,
      maxLogprobs: input.maxLogprobs,
      // A slot leaves late, when the last step that mentions it has finished.
      numSlots: input.maxNumSeqs * 2,
    },
    numBlocks,
    blockSize: input.blockSize,
  }));
  const channels = planChannels(members, input.shape);
  for (const [rank, { advert }] of members.entries()) {
    if (
      advert.ucxUnavailable !== null &&
      channels.some((c) => c.transport === 'tcp' && (c.from === rank || c.to === rank))
    ) {
      throw new FormationError(
        'ERR_TRANSPORT',
        `worker ${advert.workerIndex} is on another host and cannot use UCX: ${advert.ucxUnavailable}`,
      );
    }
  }
  const levels = new Set(members.map((m) => m.advert.instructionLevel));
  const warnings =
    levels.size > 1
      ? [
          `ranks run at different instruction levels (${[...levels].join(', ')}); outputs may differ in the last bits from those of one level`,
        ]
      : [];
  const threads = members.map(({ advert: { hostId, threads: own } }, rank): ThreadShare | null => {
    const onHost = (of: readonly Member[]): number =>
      of.reduce((sum, { advert }) => sum + (advert.hostId === hostId ? advert.threads : 0), 0);
    const total = onHost(members);
    return total === own ? null : { first: onHost(members.slice(0, rank)), total };
  });
  return { places, threads, layers, loads, channels, warnings, blockBytes };
}

function planChannels(members: readonly Member[], shape: GroupShape): ChannelPlan[] {
  const { stages, tensorSize } = shape;
  return rankChannels({ stages, tensorSize, expertReplicas: expertReplicas(shape) }).map((channel) => {
    const [from, to] = [members[channel.from]?.advert, members[channel.to]?.advert];
    return {
      ...channel,
      name: `rank-${from?.rankIndex}-to-rank-${to?.rankIndex}-${channel.carries}`,
      transport: from?.hostId === to?.hostId ? 'shm' : 'tcp',
      capacityBytes: CHANNEL_CAPACITY_BYTES[channel.carries],
    };
  });
}
