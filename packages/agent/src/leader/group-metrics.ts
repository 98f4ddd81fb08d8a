import { setTimeout as delay } from 'node:timers/promises';
import type { EngineStats } from '@skein/engine';
import { type Metrics, skeinMetrics } from '@skein/telemetry';
import type { RankStatus } from '../rank/rank-actor.ts';
import type { ExpertLoads } from './expert-loads.ts';
import type { MeasuredFormation } from './measured-formation.ts';

/** A scrape waits this long for the ranks; what they say later counts in the next one. */
const RANKS_MS_MAX = 20;

const transports = ['shm', 'tcp'] as const;

interface Moved {
  readonly bytes: number;
  readonly messages: number;
}

type BlockCounts = Pick<EngineStats, 'numFreeBlocks' | 'numCachedBlocks' | 'numUsedBlocks'>;

/** How often the group was formed, what its KV pool holds, and what its ranks move. Ranks count from the opening of their channels, once an epoch;
 *  here the counts add up over epochs, less what moved between an epoch's last scrape and its end. */
export class GroupMetrics {
  readonly #metrics: Metrics;
  readonly #formations: readonly MeasuredFormation[];
  readonly #experts: ExpertLoads;
  /** By replica: the epoch, and what is counted already of it, by rank and peer. */
  readonly #counted: { epoch: number; readonly moved: Map<string, Moved> }[];

  /** @param formations one of each replica. */
  constructor(metrics: Metrics, formations: readonly MeasuredFormation[], experts: ExpertLoads) {
    this.#metrics = metrics;
    this.#formations = formations;
    this.#experts = experts;
    this.#counted = formations.map(() => ({ epoch: 0, moved: new Map() }));
    for (const transport of transports) {
      metrics.counter(skeinMetrics.transportBytes).inc({ transport }, 0);
      metrics.counter(skeinMetrics.transportMessages).inc({ transport }, 0);
    }
    metrics.gauge(skeinMetrics.groupEpoch).set(0);
  }

  /** Brings the metrics up to date; rejects never. @param blocks of each replica's pool. */
  async scrape(blocks: readonly BlockCounts[]): Promise<void> {
    const sum = (of: (counts: BlockCounts) => number): number => blocks.reduce((total, one) => total + of(one), 0);
    this.#metrics.gauge(skeinMetrics.groupEpoch).set(Math.max(...this.#formations.map(({ current }) => current.epoch)));
    const states = {
      free: sum(({ numFreeBlocks }) => numFreeBlocks),
      cached: sum(({ numCachedBlocks }) => numCachedBlocks),
      used: sum(({ numUsedBlocks }) => numUsedBlocks),
    };
    for (const [state, count] of Object.entries(states))
      this.#metrics.gauge(skeinMetrics.kvBlocks).set({ state }, count);
    const asked = this.#formations.flatMap((formation, replica) =>
      formation.current.members.map(async (member) => {
        const status = await formation.status(member);
        if (!status) return;
        this.#add(replica, member.rank.name, status);
        this.#experts.add(member, status);
      }),
    );
    await Promise.race([Promise.all(asked), delay(RANKS_MS_MAX)]);
  }

  #add(replica: number, rank: string, { epoch, pairs }: Pick<RankStatus, 'epoch' | 'pairs'>): void {
    const counted = this.#counted[replica];
    // An answer that was long under way.
    if (!counted || epoch < counted.epoch) return;
    if (epoch > counted.epoch) counted.moved.clear();
    counted.epoch = epoch;
    for (const { peer, transport, bytes, messages } of pairs) {
      const key = `${rank} ${peer}`;
      const before = counted.moved.get(key) ?? { bytes: 0, messages: 0 };
      if (bytes < before.bytes || messages < before.messages) continue;
      this.#metrics.counter(skeinMetrics.transportBytes).inc({ transport }, bytes - before.bytes);
      this.#metrics.counter(skeinMetrics.transportMessages).inc({ transport }, messages - before.messages);
      counted.moved.set(key, { bytes, messages });
    }
  }
}
