import { setTimeout as delay } from 'node:timers/promises';
import type { EngineStats } from '@skein/engine';
import { type Metrics, skeinMetrics } from '@skein/telemetry';
import type { RankStatus } from '../rank/rank-actor.ts';
import type { Member } from './membership.ts';

/** A scrape waits this long for the ranks; what they say later counts in the next one. */
const RANKS_MS_MAX = 20;

const transports = ['shm', 'tcp'] as const;

/** What of a formation is measured. */
export interface MeasuredFormation {
  readonly current: { readonly epoch: number; readonly members: readonly Member[] };
  status(member: Member): Promise<RankStatus | null>;
}

type BlockCounts = Pick<EngineStats, 'numFreeBlocks' | 'numCachedBlocks' | 'numUsedBlocks'>;

/** How often the group was formed, what its KV pool holds, and what its ranks move. Ranks count from the opening of their channels, once an epoch;
 *  here the counts add up over epochs, less what moved between an epoch's last scrape and its end. */
export class GroupMetrics {
  readonly #metrics: Metrics;
  readonly #formation: MeasuredFormation;
  #epoch = 0;
  /** What is counted already of this epoch, by rank and peer. */
  readonly #counted = new Map<string, { readonly bytes: number; readonly messages: number }>();

  constructor(metrics: Metrics, formation: MeasuredFormation) {
    this.#metrics = metrics;
    this.#formation = formation;
    for (const transport of transports) {
      metrics.counter(skeinMetrics.transportBytes).inc({ transport }, 0);
      metrics.counter(skeinMetrics.transportMessages).inc({ transport }, 0);
    }
    metrics.gauge(skeinMetrics.groupEpoch).set(0);
  }

  /** Brings the metrics up to date; rejects never. */
  async scrape(blocks: BlockCounts): Promise<void> {
    const { epoch, members } = this.#formation.current;
    this.#metrics.gauge(skeinMetrics.groupEpoch).set(epoch);
    const states = { free: blocks.numFreeBlocks, cached: blocks.numCachedBlocks, used: blocks.numUsedBlocks };
    for (const [state, count] of Object.entries(states))
      this.#metrics.gauge(skeinMetrics.kvBlocks).set({ state }, count);
    const asked = members.map(async (member) => {
      const status = await this.#formation.status(member);
      if (status) this.#add(member.rank.name, status);
    });
    await Promise.race([Promise.all(asked), delay(RANKS_MS_MAX)]);
  }

  #add(rank: string, { epoch, pairs }: Pick<RankStatus, 'epoch' | 'pairs'>): void {
    // An answer that was long under way.
    if (epoch < this.#epoch) return;
    if (epoch > this.#epoch) this.#counted.clear();
    this.#epoch = epoch;
    for (const { peer, transport, bytes, messages } of pairs) {
      const key = `${rank} ${peer}`;
      const before = this.#counted.get(key) ?? { bytes: 0, messages: 0 };
      if (bytes < before.bytes || messages < before.messages) continue;
      this.#metrics.counter(skeinMetrics.transportBytes).inc({ transport }, bytes - before.bytes);
      this.#metrics.counter(skeinMetrics.transportMessages).inc({ transport }, messages - before.messages);
      this.#counted.set(key, { bytes, messages });
    }
  }
}
