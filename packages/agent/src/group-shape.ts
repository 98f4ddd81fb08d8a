import { ConfigError } from './errors.ts';
import { RANKS_PER_AGENT_MAX } from './leases.ts';

/** How the ranks of a group share the work. They are numbered replica by replica, in a replica stage by stage, and in a stage
 *  by their place among those that share its layers: neighbours, which talk most, are in one pod where they fit. */
export interface GroupShape {
  /** Data-parallel copies of the whole model. */
  readonly replicas: number;
  /** Pipeline stages of a replica. */
  readonly stages: number;
  /** Tensor-parallel ranks of a stage. */
  readonly tensorSize: number;
  /** Whether replicas share the experts of a mixture: then they compute their steps together. */
  readonly sharesExperts: boolean;
}

/** What a rank does in its group. */
export interface RankPlace {
  readonly replica: number;
  readonly stage: number;
  readonly tensorRank: number;
}

export function ranksPerReplica({ stages, tensorSize }: GroupShape): number {
  return stages * tensorSize;
}

export function numRanks(shape: GroupShape): number {
  return shape.replicas * ranksPerReplica(shape);
}

/** Replicas that share their experts; 1 where each has its own. */
export function expertReplicas({ replicas, sharesExperts }: GroupShape): number {
  return sharesExperts ? replicas : 1;
}

export function placeOf(rankIndex: number, shape: GroupShape): RankPlace {
  const within = rankIndex % ranksPerReplica(shape);
  return {
    replica: Math.floor(rankIndex / ranksPerReplica(shape)),
    stage: Math.floor(within / shape.tensorSize),
    tensorRank: within % shape.tensorSize,
  };
}

/** A shape and its pods as one text, by which members compare how they were started. */
export function layoutText({ replicas, stages, tensorSize, sharesExperts }: GroupShape, groupSize: number): string {
  const sizes = `tensor ${tensorSize} x pipeline ${stages} x data ${replicas} in ${groupSize} pods`;
  return sharesExperts ? `${sizes}, experts shared` : sizes;
}

/** Ranks that every agent of a group runs. @throws ConfigError when pods cannot have the same number of them. */
export function ranksPerAgent(shape: GroupShape, groupSize: number): number {
  const count = numRanks(shape) / groupSize;
  if (Number.isInteger(count) && count <= RANKS_PER_AGENT_MAX) return count;
  const { replicas, stages, tensorSize } = shape;
  const why =
    count > RANKS_PER_AGENT_MAX
      ? `one agent runs at most ${RANKS_PER_AGENT_MAX}`
      : `${groupSize} pods (LWS_GROUP_SIZE) cannot have equally many`;
  throw new ConfigError(
    'ERR_OPTION',
    `tensor x pipeline x data parallel is ${tensorSize} x ${stages} x ${replicas} = ${numRanks(shape)} ranks, and ${why}; change a size or the number of pods`,
  );
}
