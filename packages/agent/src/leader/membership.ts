import type { LeaseMember, LeaseWatch, MessageBus } from '@skein/message-bus';
import { type Identity, type RankAdvert, rankAdvertSchema, sameIdentity, subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { type AgentAdvert, agentAdvertSchema } from '../leases.ts';
import { Waiting } from '../waiting.ts';

export interface Member {
  readonly agent: Identity;
  readonly agentAdvert: AgentAdvert;
  readonly rank: Identity;
  readonly advert: RankAdvert;
}

export interface MembershipOptions {
  readonly group: string;
  readonly groupSize: number;
  readonly ranksPerAgent: number;
  /** Of the leader; an agent of another is no member. See `layoutText`. */
  readonly layout: string;
  /** Numbers of the ranks that are counted as members. */
  readonly firstRank: number;
  readonly numRanks: number;
  readonly logger: Logger;
}

/** Who is in the group now, from the leases of agents and ranks. A member is a rank process together with the agent that says
 *  it has it; an agent tells at once when one of its ranks ends. */
export class Membership {
  readonly #leader: Identity;
  readonly #options: MembershipOptions;
  readonly #agents: LeaseWatch;
  readonly #ranks: LeaseWatch;
  readonly #listeners = new Set<() => void>();

  /** `bus` is the leader's. */
  constructor(bus: MessageBus, options: MembershipOptions) {
    const { group } = options;
    this.#leader = bus.identity;
    this.#options = options;
    const changed = (): void => {
      for (const listener of [...this.#listeners]) listener();
    };
    this.#agents = bus.watch(subjects.agents(group), changed);
    this.#ranks = bus.watch(subjects.ranks(group), changed);
  }

  agents(): { readonly identity: Identity; readonly advert: AgentAdvert }[] {
    return [...this.#agents.members.values()].flatMap(({ from, value }) => {
      const advert = agentAdvertSchema.safeParse(value);
      return advert.success && advert.data.workerIndex < this.#options.groupSize
        ? [{ identity: from, advert: advert.data }]
        : [];
    });
  }

  member(rankIndex: number): Member | null {
    const { workerIndex, local } = this.#placeOf(rankIndex);
    const agent = this.#agent(workerIndex);
    const rank = agent?.advert.ranks[local];
    // Two leaders of one group would take the ranks from each other for ever: the older one stands back.
    if (!agent || !rank || (workerIndex === 0 && !sameIdentity(agent.identity, this.#leader))) return null;
    if (agent.advert.layout !== this.#options.layout) return null;
    const lease = [...this.#ranks.members.values()]
      .map(parseRank)
      .find((r) => r?.advert.rankIndex === rankIndex && sameIdentity(r.rank, rank));
    return lease ? { agent: agent.identity, agentAdvert: agent.advert, ...lease } : null;
  }

  /** @returns all members, by number, as soon as none is missing. */
  async complete(signal: AbortSignal): Promise<Member[]> {
    const { numRanks, logger } = this.#options;
    using waiting = new Waiting(logger, `${numRanks} ranks`);
    for (;;) {
      signal.throwIfAborted();
      const present = this.#wanted.flatMap((rankIndex) => this.member(rankIndex) ?? []);
      if (present.length === numRanks) return present;
      waiting.detail = this.missing;
      await this.#change(signal);
    }
  }

  /** Which members are not there, and why; '' when none is missing. */
  get missing(): string {
    const missing = this.#wanted.filter((rankIndex) => this.member(rankIndex) === null);
    return missing.length === 0 ? '' : `missing ${missing.map((rankIndex) => this.#missing(rankIndex)).join(', ')}`;
  }

  /** Resolves with what is wrong when one of `members` is no longer what it was. */
  async lost(members: readonly Member[], signal: AbortSignal): Promise<string> {
    for (;;) {
      for (const was of members) {
        const { workerIndex, rankIndex, pid } = was.advert;
        const now = this.member(rankIndex);
        if (!now) return `worker ${workerIndex} (rank ${was.rank.name}, pid ${pid}) is gone`;
        if (!sameIdentity(now.rank, was.rank)) return `worker ${workerIndex} has a new rank process ${now.rank.name}`;
      }
      if (signal.aborted) return 'closing';
      await this.#change(signal);
    }
  }

  close(): void {
    this.#agents.close();
    this.#ranks.close();
  }

  get #wanted(): number[] {
    const { firstRank, numRanks } = this.#options;
    return Array.from({ length: numRanks }, (_, i) => firstRank + i);
  }

  #agent(workerIndex: number): { readonly identity: Identity; readonly advert: AgentAdvert } | undefined {
    return this.agents().find((a) => a.advert.workerIndex === workerIndex);
  }

  #placeOf(rankIndex: number): { readonly workerIndex: number; readonly local: number } {
    const { ranksPerAgent } = this.#options;
    return { workerIndex: Math.floor(rankIndex / ranksPerAgent), local: rankIndex % ranksPerAgent };
  }

  #missing(rankIndex: number): string {
    const { workerIndex, local } = this.#placeOf(rankIndex);
    const { ranksPerAgent } = this.#options;
    const name = `worker ${workerIndex}${ranksPerAgent === 1 ? '' : ` rank ${local}`}`;
    const agent = this.#agent(workerIndex);
    if (!agent) return name;
    const { host, pid, layout } = agent.advert;
    if (workerIndex === 0 && !sameIdentity(agent.identity, this.#leader))
      return `${name} (another leader leads this group: pid ${pid} on ${host})`;
    if (layout !== this.#options.layout)
      return `${name} (it was started for ${layout}, the leader for ${this.#options.layout}: give all the same parallel sizes and LWS_GROUP_SIZE; pid ${pid} on ${host})`;
    return `${name} (its rank has not joined: pid ${pid} on ${host})`;
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#listeners.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#listeners.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

function parseRank({ from, value }: LeaseMember): { rank: Identity; advert: RankAdvert } | null {
  const advert = rankAdvertSchema.safeParse(value);
  return advert.success ? { rank: from, advert: advert.data } : null;
}
