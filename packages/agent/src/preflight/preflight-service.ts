import { type ActorImplementation, type HostedActor, hostActor } from '@skein/actor';
import type { MessageBus } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import { FormationError } from '../errors.ts';
import type { ChosenInterface } from '../network/choose-interface.ts';
import { hostAnswers, REFERENCE_PORT } from '../network/dial.ts';
import { interfaceMtu, interfaceWith, localPorts, ownAddresses, routeSource } from '../network/host-network.ts';
import { type Detour, type PairReport, PreflightActor, preflightSubject } from './preflight-actor.ts';
import type { ProbeConnection } from './probe-connection.ts';
import { measureBandwidth, reachPeer } from './probe-peer.ts';
import { ProbeServer } from './probe-server.ts';

const OPEN_MS_MAX = 30_000;
/** All of an agent's bursts. */
const BANDWIDTH_MS_MAX = 1500;
const SEEK_MS = 1200;
const WORKERS_MAX = 4096;

export interface PreflightServiceOptions {
  readonly group: string;
  readonly workerIndex: number;
  readonly groupKey: string | null;
  /** Null: this host has no address that others could reach. */
  readonly chosen: ChosenInterface | null;
}

/** An agent's part of the preflight. Call before the agent is announced: whoever sees it may ask. */
export function servePreflight(bus: MessageBus, options: PreflightServiceOptions): Disposable {
  const { group, workerIndex } = options;
  const service = new PreflightService(bus.identity, options);
  const hosted: HostedActor = hostActor(
    bus,
    preflightSubject(group, workerIndex, bus.identity),
    PreflightActor,
    service,
  );
  return {
    [Symbol.dispose]: () => {
      hosted.close();
      void service.close();
    },
  };
}

class PreflightService implements ActorImplementation<typeof PreflightActor.methods> {
  readonly #identity: Identity;
  readonly #options: PreflightServiceOptions;
  #server: ProbeServer | null = null;
  #closing: NodeJS.Timeout | undefined;

  constructor(identity: Identity, options: PreflightServiceOptions) {
    this.#identity = identity;
    this.#options = options;
  }

  open: ActorImplementation<typeof PreflightActor.methods>['open'] = async () => {
    const { name, address, why, others } = this.#chosen();
    await this.close();
    this.#server = await ProbeServer.start(address, this.#options.groupKey);
    this.#closing = setTimeout(() => void this.close(), OPEN_MS_MAX);
    return {
      interfaceName: name,
      address,
      port: this.#server.port,
      mtu: interfaceMtu(name),
      why,
      others: others.slice(0, 8),
      localPorts: localPorts(),
    };
  };

  probe: ActorImplementation<typeof PreflightActor.methods>['probe'] = async ({ peers }) => {
    const { name, address: localAddress } = this.#chosen();
    const { groupKey, workerIndex } = this.#options;
    const mtu = interfaceMtu(name);
    const turn = (worker: number): number => (worker > workerIndex ? worker : worker + WORKERS_MAX);
    const open: { readonly worker: number; readonly connection: ProbeConnection }[] = [];
    const reports = new Map<number, PairReport>();
    try {
      await Promise.all(
        peers.map(async (peer) => {
          const target = { address: peer.address, port: peer.port, localAddress, identity: this.#identity, groupKey };
          const { reach, connection } = await reachPeer(target, {
            packetBytes: Math.min(mtu, peer.mtu),
            referencePort: peer.referencePort,
          });
          reports.set(peer.worker, { worker: peer.worker, ...reach, bytesPerSecond: null });
          if (connection) open.push({ worker: peer.worker, connection });
        }),
      );
      // Each begins with the next worker, so that bursts that start together meet at no one.
      open.sort((a, b) => turn(a.worker) - turn(b.worker));
      const startMs = performance.now();
      for (const { worker, connection } of open) {
        const report = reports.get(worker);
        if (report && performance.now() - startMs < BANDWIDTH_MS_MAX)
          reports.set(worker, { ...report, bytesPerSecond: await measureBandwidth(connection) });
      }
    } finally {
      for (const { connection } of open) connection[Symbol.dispose]();
    }
    return [...reports.values()];
  };

  seek: ActorImplementation<typeof PreflightActor.methods>['seek'] = async ({ peers }) => {
    const own = ownAddresses();
    return Promise.all(
      peers.map(async ({ worker, addresses }): Promise<Detour> => {
        const answers = await Promise.all(
          // What containers are given on every host would answer from this one.
          addresses.map(
            async (address) =>
              !own.has(address) && (await hostAnswers({ address, port: REFERENCE_PORT, localAddress: null }, SEEK_MS)),
          ),
        );
        const address = addresses[answers.indexOf(true)] ?? null;
        const source = address === null ? null : await routeSource(address);
        return { worker, address, interfaceName: source === null ? null : interfaceWith(source) };
      }),
    );
  };

  close = async (): Promise<null> => {
    clearTimeout(this.#closing);
    this.#server?.close();
    this.#server = null;
    return null;
  };

  #chosen(): ChosenInterface {
    const { chosen } = this.#options;
    if (chosen) return chosen;
    throw new FormationError(
      'ERR_INTERFACE',
      "no interface has an address of the leader's family that others could reach; give this host one",
    );
  }
}
