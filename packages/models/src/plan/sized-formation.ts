import { defaultPartition } from '../default-partition.ts';
import { redundantMax } from '../expert-placement.ts';
import { kvBlocksInBudget } from '../kv-cache-size.ts';
import type { ModelFacts } from './model-facts.ts';
import type { PlannedCheckpoint } from './planned-checkpoint.ts';
import type { MemoryModel, RankMemory } from './rank-memory.ts';
import { type Degrees, expertRanks, expertReplicas, type RankLimits, type RankRecorder } from './rank-program.ts';

/** The devices there are; all alike. */
export interface PlannedDevices {
  readonly kind: 'gpu' | 'cpu';
  readonly count: number;
  /** Those that one pod can have. */
  readonly perHost: number;
  readonly memoryBytes: number;
  /** The part of a device's memory that a rank may take. */
  readonly usableShare: number;
  /** The part of what weights and buffers leave of that which its KV cache may take. */
  readonly kvShare: number;
}

/** What the formation is to serve. */
export interface PlannedLoad extends RankLimits {
  /** Tokens of a sequence, prompt and answer. */
  readonly context: number;
  /** KV blocks of each rank, where they are given; null takes what memory there is. */
  readonly numBlocks: number | null;
}

/** A formation with what fits into it. */
export interface SizedFormation {
  readonly degrees: Degrees;
  /** Of each stage, the rank that holds most. */
  readonly ranks: readonly RankMemory[];
  /** Of a group: its KV cache. */
  readonly kvBlocks: number;
  /** Sequences of the whole context that all KV caches of the formation hold at once. */
  readonly sequences: number;
  /** The largest part of a device that weights take. */
  readonly weightShare: number;
  /** Whether every rank has room for a sequence, and the copies of experts have different ranks. */
  readonly fits: boolean;
}

/** What a formation is measured for. */
export interface Planning {
  readonly checkpoint: PlannedCheckpoint;
  readonly devices: PlannedDevices;
  readonly load: PlannedLoad;
  readonly memory: MemoryModel;
}

/** What it takes to measure one. */
export interface Sizing extends Planning {
  readonly recorder: RankRecorder;
  readonly facts: ModelFacts;
}

/** Layers are split as the leader would, where nobody says. */
export function sizeFormation({ recorder, facts, devices, load, memory }: Sizing, given: Degrees): SizedFormation {
  const layerPartition = given.layerPartition ?? defaultPartition(facts.costs, given.pipeline);
  const degrees = { ...given, layerPartition };
  const shape = { stages: degrees.pipeline, tensorSize: degrees.tensor, expertReplicas: expertReplicas(degrees) };
  const ranks = recorder.ranks(degrees, load).map((rank) => memory(rank, shape));
  const kvBlocks =
    load.numBlocks ??
    Math.max(0, Math.min(blocksMax(devices, load), ...ranks.map((rank) => blocksThatFit(rank, devices, load))));
  const hasRoomForCopies = load.redundantExperts <= redundantMax(facts.numExperts, expertRanks(degrees));
  const perGroup = Math.floor((kvBlocks * load.blockSize) / load.context);
  return {
    degrees,
    ranks,
    kvBlocks,
    sequences: perGroup * degrees.data,
    weightShare: Math.max(...ranks.map((rank) => rank.weightBytes)) / usableBytes(devices),
    fits:
      perGroup >= 1 &&
      hasRoomForCopies &&
      ranks.every((rank) => usedBytes(rank, kvBlocks, load.blockSize) <= usableBytes(devices)),
  };
}

export function usableBytes({ memoryBytes, usableShare }: PlannedDevices): number {
  return memoryBytes * usableShare;
}

/** Of a rank, with its KV cache and all that it touches full. */
export function usedBytes(rank: RankMemory, kvBlocks: number, blockSize: number): number {
  return fixedBytes(rank) + kvBlocks * blockSize * rank.kvTokenBytes;
}

function fixedBytes(rank: RankMemory): number {
  return rank.weightBytes + rank.bufferBytes + rank.logitBytes + rank.runtimeBytes + rank.channelBytes;
}

/** Ranks on CPUs, which share the memory with others, take no more than their sequences can fill. */
function blocksMax({ kind }: PlannedDevices, { limits, blockSize }: PlannedLoad): number {
  return kind === 'cpu' ? limits.maxSeqs * Math.ceil(limits.maxModelLen / blockSize) : Infinity;
}

function blocksThatFit(rank: RankMemory, devices: PlannedDevices, { blockSize }: PlannedLoad): number {
  const left = (usableBytes(devices) - fixedBytes(rank)) * devices.kvShare;
  return kvBlocksInBudget(left, rank.kvTokenBytes * blockSize);
}
