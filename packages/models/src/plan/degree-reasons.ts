import {
  type GivenDegrees,
  groupRanks,
  hasRoom,
  SEQUENCES_MIN,
  tensorSizes,
  WEIGHT_SHARE_MAX,
} from './formation-choice.ts';
import type { ModelFacts } from './model-facts.ts';
import { shownBytes } from './shown-bytes.ts';
import { type SizedFormation, type Sizing, usableBytes } from './sized-formation.ts';

/** Why each degree is what it is; a sentence each. */
export interface DegreeReasons {
  readonly tensor: string;
  readonly pipeline: string;
  readonly data: string;
  readonly expert: string;
}

export interface ReasonsInput {
  readonly sizing: Sizing;
  readonly given: GivenDegrees;
  readonly chosen: SizedFormation;
  /** Groups that the wanted rate takes; null when none is wanted. */
  readonly groupsForQps: number | null;
}

export function degreeReasons(input: ReasonsInput): DegreeReasons {
  return {
    tensor: tensorReason(input),
    pipeline: pipelineReason(input),
    data: dataReason(input),
    expert: expertReason(input),
  };
}

function tensorReason({ sizing, given, chosen }: ReasonsInput): string {
  const { devices, facts } = sizing;
  const { tensor, pipeline, isExpertParallel } = chosen.degrees;
  const heads = headsReason(tensor, facts);
  if (given.tensor !== null)
    return `as given${tensor > devices.perHost ? '; ranks on several hosts wait for the network in every layer' : ''}${heads}`;
  if (devices.kind === 'cpu')
    return tensor > 1
      ? `ranks of one host share its memory and bandwidth: each reads its part of every layer${heads}`
      : `one rank computes on all threads of a host${heads}`;
  const sizes = tensorSizes(sizing, null);
  const byWeights = heldBytes(facts, chosen) / pipeline / usableBytes(devices);
  const share = `the weights take ${percent(chosen.weightShare)} of each device`;
  if (tensor === 1) return `${share}; nothing is split that need not be${heads}`;
  const smaller = sizes.findLast((size) => size < tensor) ?? 1;
  if (isExpertParallel && devices.count / smaller > facts.numExperts)
    return `${facts.numExperts} experts give ${facts.numExperts} groups of the ${devices.count} devices at most${heads}`;
  const aim = `${percent(WEIGHT_SHARE_MAX)} and ${SEQUENCES_MIN} sequences a group are aimed for`;
  const reached = hasRoom(chosen, sizing) ? aim : `${aim}, which these devices do not reach`;
  return `by weights alone ${sizes.find((size) => size >= byWeights) ?? tensor} would do; with ${tensor} ${share} (${reached})${heads}`;
}

function heldBytes({ weightBytes, expertBytes }: ModelFacts, { degrees }: SizedFormation): number {
  return degrees.isExpertParallel ? weightBytes - expertBytes * (1 - 1 / degrees.data) : weightBytes;
}

/** What a size does to heads. */
function headsReason(tensor: number, { numKVHeads }: ModelFacts): string {
  if (tensor === 1) return '';
  if (numKVHeads === null) return '; the latent KV row is the same for all heads, so each rank keeps all of it';
  if (tensor > numKVHeads) return `; ${numKVHeads} KV heads for ${tensor} ranks, so that each is kept more than once`;
  if (numKVHeads % tensor === 0) return '';
  return `; ${numKVHeads} KV heads do not divide by ${tensor}, so that the first ranks hold more than the others`;
}

function pipelineReason({ sizing, given, chosen }: ReasonsInput): string {
  const { devices, facts } = sizing;
  const { pipeline, tensor, layerPartition } = chosen.degrees;
  const uneven =
    facts.numLayers % pipeline !== 0 && layerPartition === null
      ? `; ${facts.numLayers} layers do not divide by ${pipeline}, and the last stage, which has the logits, gets none that is left over`
      : '';
  if (given.pipeline !== null) return `as given${uneven}`;
  if (devices.kind === 'cpu')
    return pipeline > 1
      ? `the other ranks take layers of their own, a step for each in flight${uneven}`
      : 'no rank is left';
  const host = devices.perHost;
  const hostGib = shownBytes(Math.min(host, devices.count) * usableBytes(devices));
  if (pipeline === 1) {
    if (chosen.degrees.isExpertParallel) return 'experts lie over all hosts, so that each has its part of every layer';
    const replicas = chosen.degrees.data * tensor > host && !chosen.degrees.isExpertParallel;
    const more = replicas ? `; another host is worth more as a replica than as a stage` : '';
    return `one host holds the model: ${shownBytes(facts.weightBytes)} of weights, ${hostGib} usable${more}`;
  }
  return `the model spans hosts: of the ${hostGib} that a host has, ${shownBytes(facts.weightBytes)} of weights would leave too little; stages exchange one row a token, which a network carries${uneven}`;
}

function dataReason({ sizing, given, chosen, groupsForQps }: ReasonsInput): string {
  const { devices } = sizing;
  const { data, isExpertParallel } = chosen.degrees;
  if (given.data !== null) return 'as given';
  const idle = devices.count - groupRanks(chosen.degrees) * data;
  const left = idle > 0 ? `; ${idle} ${idle === 1 ? 'device is' : 'devices are'} left over` : '';
  if (groupsForQps !== null && groupsForQps > data && !isExpertParallel)
    return `--qps would take ${groupsForQps} groups, and there are devices for ${data}`;
  if (groupsForQps !== null && groupsForQps === data) return `what --qps takes${left}`;
  if (devices.kind === 'cpu') return `replicas would read the weights once each from the same memory${left}`;
  if (data === 1) return `one group takes all it can use${left}`;
  if (isExpertParallel) return `each group attends for requests of its own, over experts that all share${left}`;
  return `what ${groupRanks(chosen.degrees)} of ${devices.count} devices leave serves replicas, for throughput${left}`;
}

function expertReason({ sizing: { facts }, chosen }: ReasonsInput): string {
  const { tensor, data, isExpertParallel } = chosen.degrees;
  const { numExperts } = facts;
  if (numExperts === 0) return 'only mixtures have experts';
  if (!isExpertParallel)
    return data > 1 ? 'each group holds all experts' : 'one group holds all experts, whole ones on each of its ranks';
  const ranks = tensor * data;
  const place =
    numExperts === ranks
      ? 'one on each'
      : numExperts > ranks
        ? `${Math.floor(numExperts / ranks)}${numExperts % ranks === 0 ? '' : ` or ${Math.ceil(numExperts / ranks)}`} on each`
        : numExperts === data
          ? 'one to each group'
          : `one on each of ${numExperts}, and none on the others`;
  return `${numExperts} experts over ${ranks} ranks, tensor times data as in vLLM, which has no size of its own for it: ${place}; all-to-all takes a token to its experts`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
