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

/** Who is in the group now, from the leases of agents and ranks. A member is an agent together with the rank process that
 *  the agent says it has; an agent tells at once when its rank ends. */
export class Membership {
  readonly #leader: Identity;
  readonly #size: number;
  readonly #logger: Logger;
  readonly #agents: LeaseWatch;
  readonly #ranks: LeaseWatch;
  readonly #listeners = new Set<() => void>();

  /** `bus` is the leader's. */
  constructor(bus: MessageBus, options: { readonly group: string; readonly size: number; readonly logger: Logger }) {
    const { group, size, logger } = options;
    this.#leader = bus.identity;
    this.#size = size;
    this.#logger = logger;
    const changed = (): void => {
      for (const listener of [...this.#listeners]) listener();
    };
    this.#agents = bus.watch(subjects.agents(group), changed);
    this.#ranks = bus.watch(subjects.ranks(group), changed);
  }

  agents(): { readonly identity: Identity; readonly advert: AgentAdvert }[] {
    return [...this.#agents.members.values()].flatMap(({ from, value }) => {
      const advert = agentAdvertSchema.safeParse(value);
      return advert.success && advert.data.workerIndex < this.#size ? [{ identity: from, advert: advert.data }] : [];
    });
  }

  member(workerIndex: number): Member | null {
    const agent = this.#agent(workerIndex);
    // Two leaders of one group would take the ranks from each other for ever: the older one stands back.
    if (!agent?.advert.rank || (workerIndex === 0 && !sameIdentity(agent.identity, this.#leader))) return null;
    const { rank } = agent.advert;
    const lease = [...this.#ranks.members.values()]
      .map(parseRank)
      .find((r) => r?.advert.workerIndex === workerIndex && sameIdentity(r.rank, rank));
    return lease ? { agent: agent.identity, agentAdvert: agent.advert, ...lease } : null;
  }

  /** @returns all members, by worker index, as soon as none is missing. */
  async complete(signal: AbortSignal): Promise<Member[]> {
    using waiting = new Waiting(this.#logger, `${this.#size} ranks`);
    for (;;) {
      signal.throwIfAborted();
      const members = Array.from({ length: this.#size }, (_, i) => this.member(i));
      const present = members.filter((m) => m !== null);
      if (present.length === this.#size) return present;
      waiting.detail = `missing ${members.flatMap((m, i) => (m ? [] : [this.#missing(i)])).join(', ')}`;
      await this.#change(signal);
    }
  }

  /** Resolves with what is wrong when one of `members` is no longer what it was. */
  async lost(members: readonly Member[], signal: AbortSignal): Promise<string> {
    for (;;) {
      for (const was of members) {
        const now = this.member(was.advert.workerIndex);
        if (!now) return `worker ${was.advert.workerIndex} (rank ${was.rank.name}, pid ${was.advert.pid}) is gone`;
        if (!sameIdentity(now.rank, was.rank)) return `worker ${was.advert.workerIndex} has a new rank process`;
      }
      if (signal.aborted) return 'closing';
      await this.#change(signal);
    }
  }

  close(): void {
    this.#agents.close();
    this.#ranks.close();
  }

  #agent(workerIndex: number): { readonly identity: Identity; readonly advert: AgentAdvert } | undefined {
    return this.agents().find((a) => a.advert.workerIndex === workerIndex);
  }

  #missing(workerIndex: number): string {
    const agent = this.#agent(workerIndex);
    if (!agent) return `worker ${workerIndex}`;
    const { host, pid } = agent.advert;
    const isRival = workerIndex === 0 && !sameIdentity(agent.identity, this.#leader);
    return `worker ${workerIndex} (${isRival ? 'another leader leads this group' : 'its rank has not joined'}: pid ${pid} on ${host})`;
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
