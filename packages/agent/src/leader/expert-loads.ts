import type { GroupExperts } from '@skein/protocol';
import { type Metrics, skeinMetrics } from '@skein/telemetry';
import type { RankStatus } from '../rank/rank-actor.ts';
import type { MeasuredFormation } from './measured-formation.ts';
import type { Member } from './membership.ts';

type ExpertStatus = Pick<RankStatus, 'epoch' | 'experts'>;

interface Heard extends ExpertStatus {
  readonly incarnation: string;
}

/** What the experts of all ranks have computed. Every pair of a token and its expert is one rank's, so that the sums are right
 *  whatever the formation. Ranks count from the loading of their weights; here the counts add up over the processes that were a
 *  rank. */
export class ExpertLoads {
  readonly #metrics: Metrics;
  /** By layer, by expert. */
  readonly #tokens = new Map<number, number[]>();
  /** By rank: what it said last, and what was counted of it in all. */
  readonly #heard = new Map<number, Heard>();
  readonly #rankTokens = new Map<number, number>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /** Takes what a rank says of itself. */
  add({ rank, advert: { rankIndex } }: Member, { epoch, experts }: ExpertStatus): void {
    const heard = this.#heard.get(rankIndex);
    // An answer that was long under way.
    if (heard && epoch < heard.epoch) return;
    const goesOn = heard?.incarnation === rank.incarnation && isLater(experts, heard.experts);
    if (heard && !goesOn && epoch === heard.epoch) return;
    this.#heard.set(rankIndex, { incarnation: rank.incarnation, epoch, experts });
    let sum = 0;
    for (const { layer, ids, tokens } of experts) {
      const before = goesOn ? heard.experts.find((one) => one.layer === layer)?.tokens : undefined;
      const counted = this.#tokens.get(layer) ?? [];
      this.#tokens.set(layer, counted);
      for (const [i, id] of ids.entries()) {
        const more = (tokens[i] ?? 0) - (before?.[i] ?? 0);
        while (counted.length <= id) counted.push(0);
        counted[id] = (counted[id] ?? 0) + more;
        sum += more;
      }
      this.#metrics.gauge(skeinMetrics.expertHottestRatio).set({ layer: String(layer) }, hottestRatio(counted));
    }
    if (experts.length === 0) return;
    this.#rankTokens.set(rankIndex, (this.#rankTokens.get(rankIndex) ?? 0) + sum);
    this.#metrics.counter(skeinMetrics.expertTokens).inc({ rank: String(rankIndex) }, sum);
  }

  /** Asks all ranks; those that do not answer soon are shown with what they said before. */
  async read(formations: readonly MeasuredFormation[]): Promise<Pick<GroupExperts, 'layers' | 'ranks'>> {
    await Promise.all(
      formations.flatMap((formation) =>
        formation.current.members.map(async (member) => {
          const status = await formation.status(member);
          if (status) this.add(member, status);
        }),
      ),
    );
    return {
      layers: [...this.#tokens]
        .sort(([a], [b]) => a - b)
        .map(([layer, tokens]) => ({ layer, tokens: [...tokens], ranks: this.#ranksOf(layer, tokens.length) })),
      ranks: [...this.#rankTokens].sort(([a], [b]) => a - b).map(([rankIndex, tokens]) => ({ rankIndex, tokens })),
    };
  }

  /** By expert, the ranks that have it. */
  #ranksOf(layer: number, numExperts: number): number[][] {
    const ranks: number[][] = Array.from({ length: numExperts }, () => []);
    for (const [rankIndex, { experts }] of [...this.#heard].sort(([a], [b]) => a - b))
      for (const id of experts.find((one) => one.layer === layer)?.ids ?? []) ranks[id]?.push(rankIndex);
    return ranks;
  }
}

/** Whether `now` may be what counts on from `before`; weights that were loaded anew count from 0. */
function isLater(now: ExpertStatus['experts'], before: ExpertStatus['experts']): boolean {
  return before.every(({ layer, ids, tokens }, i) => {
    const same = now[i];
    return (
      same?.layer === layer &&
      same.ids.length === ids.length &&
      ids.every((id, e) => same.ids[e] === id && (same.tokens[e] ?? 0) >= (tokens[e] ?? 0))
    );
  });
}

/** 1 where all have as many, and before any has one. */
function hottestRatio(tokens: readonly number[]): number {
  const sum = tokens.reduce((total, one) => total + one, 0);
  return sum === 0 ? 1 : (Math.max(...tokens) * tokens.length) / sum;
}
