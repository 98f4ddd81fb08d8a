import { stagePeer } from './stage-peer.ts';
import { TENSOR_GROUP } from './tensor-shard.ts';

/** Ranks are numbered stage by stage: those that share the layers of a stage are neighbours. */
export interface FormationShape {
  readonly stages: number;
  /** Ranks that share the layers of a stage. */
  readonly tensorSize: number;
}

/** One direction between two ranks, by number. */
export interface RankChannel {
  readonly from: number;
  readonly to: number;
  /** What the operations of `to` call `from`, and those of `from` call `to`. */
  readonly fromPeer: string;
  readonly toPeer: string;
  /** `stage`: the residual stream, and sampled ids on their way back; `group`: parts of values that ranks make together. */
  readonly carries: 'stage' | 'group';
}

/** Every channel that the programs of a formation name. A rank sends to the one that has its place in the next stage; the last
 *  stage sends ids to the first. */
export function rankChannels({ stages, tensorSize }: FormationShape): RankChannel[] {
  const channels: RankChannel[] = [];
  for (let stage = 0; stage < stages; stage++) {
    const next = (stage + 1) % stages;
    for (let own = 0; own < tensorSize; own++) {
      const from = stage * tensorSize + own;
      if (stages > 1) {
        const to = next * tensorSize + own;
        channels.push({ from, to, fromPeer: stagePeer(stage), toPeer: stagePeer(next), carries: 'stage' });
      }
      for (let other = 0; other < tensorSize; other++) {
        if (other === own) continue;
        const to = stage * tensorSize + other;
        channels.push({ from, to, fromPeer: groupPeer(own), toPeer: groupPeer(other), carries: 'group' });
      }
    }
  }
  return channels;
}

/** As native.ts names the ranks of a group. */
function groupPeer(rank: number): string {
  return `${TENSOR_GROUP}/${rank}`;
}
