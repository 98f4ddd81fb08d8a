import {
  type KVCacheDtypeOption,
  kvBlockBytes,
  kvBlocksInBudget,
  type LayerRange,
  type ModelConfig,
  type QuantizationOption,
  stageLayers,
  stagePeer,
} from '@skein/models';
import type { KVCacheDtype } from '@skein/native';
import { FormationError } from '../errors.ts';
import type { LoadSpec } from '../rank/rank-actor.ts';
import type { Member } from './membership.ts';

export interface FormationPlan {
  readonly layers: readonly LayerRange[];
  readonly loads: readonly LoadSpec[];
  readonly channels: readonly ChannelPlan[];
  readonly warnings: readonly string[];
  /** Bytes of a KV block, by stage. */
  readonly blockBytes: readonly number[];
}

/** One direction between two stages. */
export interface ChannelPlan {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly transport: 'shm' | 'tcp';
}

export interface FormationInput {
  readonly model: string;
  readonly config: ModelConfig;
  readonly kvCacheDtype: KVCacheDtypeOption;
  readonly kvDtype: KVCacheDtype;
  readonly quantization: QuantizationOption;
  readonly weightCache: string | null;
  readonly layerPartition: readonly number[] | null;
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
  readonly numBlocks: number | null;
}

/** Decides who does what, from the members (by worker index; the stage is the worker index) and the model.
 *  @throws FormationError with both values when members do not fit together. */
export function planFormation(members: readonly Member[], input: FormationInput): FormationPlan {
  const [first] = members;
  if (!first) throw new FormationError('ERR_FORMATION', 'a group has at least one member');
  for (const { advert } of members) {
    if (advert.revision !== first.advert.revision) {
      throw new FormationError(
        'ERR_REVISION',
        `worker ${advert.workerIndex} runs revision ${advert.revision}, worker 0 runs ${first.advert.revision}; start all from one image`,
      );
    }
  }
  const layers = stageLayers(input.config.numLayers, members.length, input.layerPartition);
  const blocksWanted = input.maxNumSeqs * Math.ceil(input.maxModelLen / input.blockSize);
  const block = { blockSize: input.blockSize, dtype: input.kvDtype };
  const blockBytes = layers.map((range) => kvBlockBytes(input.config, range, block));
  const fit = members.map(({ advert }, stage) => {
    const budget = input.kvCacheBytes ?? advert.memoryBytes * input.memoryShare;
    return kvBlocksInBudget(budget, blockBytes[stage] ?? Infinity);
  });
  const numBlocks = input.numBlocks ?? Math.min(blocksWanted, ...fit);
  if (numBlocks < 1)
    throw new FormationError(
      'ERR_KV_CACHE',
      `a KV cache of ${input.kvCacheBytes ?? 'a share of the memory'} bytes holds no block of ${Math.max(...blockBytes)}; raise ${input.kvCacheBytes === null ? '--cpu-memory-utilization' : '--kv-cache-memory-bytes'}`,
    );
  const loads = layers.map((range, stage): LoadSpec => ({
    model: input.model,
    stages: members.length,
    stage,
    layers: [range[0], range[1]],
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
  const channels = planChannels(members);
  for (const { advert } of members) {
    if (
      advert.ucxUnavailable !== null &&
      channels.some((c) => c.transport === 'tcp' && (c.from === advert.workerIndex || c.to === advert.workerIndex))
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
  return { layers, loads, channels, warnings, blockBytes };
}

/** Activations go from each stage to the next; sampled ids from the last stage to the first. */
function planChannels(members: readonly Member[]): ChannelPlan[] {
  const p = members.length;
  if (p === 1) return [];
  return members.map((from, i) => {
    const to = members[(i + 1) % p] ?? from;
    return {
      name: `${stagePeer(i)}-to-${stagePeer((i + 1) % p)}`,
      from: i,
      to: (i + 1) % p,
      transport: from.advert.hostId === to.advert.hostId ? 'shm' : 'tcp',
    };
  });
}
