import { hostname } from 'node:os';
import type { MessageBus } from '@skein/message-bus';
import { type Identity, subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { layoutText, ranksPerAgent } from '../group-shape.ts';
import { type AgentAdvert, LEASE_TTL_MS } from '../leases.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { ChosenInterface } from '../network/choose-interface.ts';
import { ucxNetwork } from '../network/host-network.ts';
import type { NodeOptions } from '../node-options.ts';
import type { RankProcessInit } from './rank-init.ts';
import { RankSupervisor } from './rank-supervisor.ts';

export interface AgentRanksOptions {
  readonly place: GroupPlace;
  readonly options: NodeOptions;
  /** The agent's own connection, and how its ranks make theirs. */
  readonly bus: MessageBus;
  readonly rankBus: RankProcessInit['bus'];
  readonly chosen: ChosenInterface | null;
  readonly logger: Logger;
}

/** The rank processes of an agent, and the lease that tells the group of them. */
export class AgentRanks {
  readonly #supervisors: readonly RankSupervisor[];
  readonly #withdraw: () => void;

  constructor({ place, options, bus, rankBus, chosen, logger }: AgentRanksOptions) {
    const { group, groupSize, workerIndex } = place;
    const count = ranksPerAgent(options.shape, groupSize);
    const ranks: (Identity | null)[] = Array.from({ length: count }, () => null);
    const layout = layoutText(options.shape, groupSize);
    const advert = (): AgentAdvert => ({ workerIndex, host: hostname(), pid: process.pid, layout, ranks: [...ranks] });
    const lease = bus.announce(`${subjects.agents(group)}.${workerIndex}`, advert(), { ttlMs: LEASE_TTL_MS });
    this.#withdraw = () => lease.close();
    this.#supervisors = ranks.map((_, local) => {
      const init: RankProcessInit = {
        name: `${group}-${workerIndex}/${local}`,
        group,
        workerIndex,
        rankIndex: workerIndex * count + local,
        revision: options.revision,
        bus: rankBus,
        groupKey: options.groupKey,
        threads: options.threads,
        network: ucxNetwork(chosen),
        logLevel: options.logLevel,
        logFormat: options.logFormat,
      };
      const onChange = (rank: Identity | null): void => {
        ranks[local] = rank;
        lease.update(advert());
      };
      return new RankSupervisor(init, { logger: count === 1 ? logger : logger.child({ local }), onChange });
    });
  }

  /** Withdraws them, and ends them. */
  async close(): Promise<void> {
    this.#withdraw();
    await Promise.all(this.#supervisors.map((supervisor) => supervisor.close()));
  }
}
