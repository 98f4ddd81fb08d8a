import { kvBlocksInBudget } from '@skein/models';
import { FormationError } from '../errors.ts';

/** A rank that has loaded its weights. */
export interface LoadedRank {
  /** Ranks with the same one draw on the same memory. */
  readonly hostId: string;
  readonly blockBytes: number;
  readonly weightBytes: number;
  /** Measured after its load, file pages counted as free. */
  readonly availableBytes: number;
}

/** KV blocks that every rank can have, when the ranks of a host together take `share` of what weights leave of its memory. The last
 *  of them to load has measured what all leave. `othersHere` replicas that load by themselves may still need room for as much.
 *  @throws FormationError ERR_KV_CACHE when that is less than one block. */
export function kvPoolBlocks(ranks: readonly LoadedRank[], share: number, othersHere: number): number {
  const hosts = Map.groupBy(ranks, ({ hostId }) => hostId);
  const blocks = [...hosts.values()].map((here) => {
    const sum = (of: (rank: LoadedRank) => number): number => here.reduce((total, rank) => total + of(rank), 0);
    const available = Math.min(...here.map(({ availableBytes }) => availableBytes));
    const left = Math.max(0, available - othersHere * sum(({ weightBytes }) => weightBytes));
    const needed = sum(({ blockBytes }) => blockBytes);
    const fit = kvBlocksInBudget(left * share, needed);
    if (fit >= 1) return fit;
    throw new FormationError(
      'ERR_KV_CACHE',
      `${share} of the ${left} bytes that the weights leave on a host hold no KV block of ${needed} bytes; raise --cpu-memory-utilization, or set --kv-cache-memory-bytes`,
    );
  });
  return Math.min(...blocks);
}
