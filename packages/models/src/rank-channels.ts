import { stagePeer } from './stage-peer.ts';
import { EXPERT_GROUP, TENSOR_GROUP } from './tensor-shard.ts';

/** Ranks are numbered replica by replica, and in a replica stage by stage: those that share the layers of a stage are
 *  neighbours. */
export interface FormationShape {
  readonly stages: number;
  /** Ranks that share the layers of a stage. */
  readonly tensorSize: number;
  /** Replicas that share their experts; 1 where each has its own. */
  readonly expertReplicas: number;
}

/** One direction between two ranks, by number. */
export interface RankChannel {
  readonly from: number;
  readonly to: number;
  /** What the operations of `to` call `from`, and those of `from` call `to`. */
  readonly fromPeer: string;
  readonly toPeer: string;
  /** `stage`: the residual stream, and sampled ids on their way back; else parts of values that the group of this name makes
   *  together. Two ranks may have several. */
  readonly carries: 'stage' | typeof TENSOR_GROUP | typeof EXPERT_GROUP;
}

/** Every channel that the programs of a formation name. A rank sends its part of the residual stream to the one that has its place
 *  in the next stage; the last stage sends ids to the first. */
export function rankChannels({ stages, tensorSize, expertReplicas }: FormationShape): RankChannel[] {
  const channels: RankChannel[] = [];
  const number = (replica: number, stage: number, own: number): number => (replica * stages + stage) * tensorSize + own;
  for (let stage = 0; stage < stages; stage++) {
    const next = (stage + 1) % stages;
    const everyReplica: number[] = [];
    for (let replica = 0; replica < expertReplicas; replica++) {
      const ranks = Array.from({ length: tensorSize }, (_, own) => number(replica, stage, own));
      everyReplica.push(...ranks);
      for (const [own, from] of ranks.entries()) {
        if (stages === 1) break;
        const to = number(replica, next, own);
        channels.push({ from, to, fromPeer: stagePeer(stage), toPeer: stagePeer(next), carries: 'stage' });
      }
      channels.push(...allPairs(TENSOR_GROUP, ranks));
    }
    if (expertReplicas > 1) channels.push(...allPairs(EXPERT_GROUP, everyReplica));
  }
  return channels;
}

/** @param ranks by their place in the group, which native.ts names them by. */
function allPairs(group: typeof TENSOR_GROUP | typeof EXPERT_GROUP, ranks: readonly number[]): RankChannel[] {
  return ranks.flatMap((from, own) =>
    ranks.flatMap((to, other) =>
      own === other ? [] : [{ from, to, fromPeer: `${group}/${own}`, toPeer: `${group}/${other}`, carries: group }],
    ),
  );
}
