import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Lease, LeaseMember, MessageBus } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import type { ActorClass, Methods } from './actor-class.ts';
import type { ActorHandle } from './actor-handle.ts';
import { actorSubject } from './actor-wire.ts';
import { ActorDiedError, ActorUnavailableError, PlacementError, RemoteError } from './errors.ts';
import { groupKey, LEASE_TTL_MS, NodeActor, nodeAdvertSchema, NODES, nodeSubject } from './node-class.ts';
import { placeBundles, type PlacementStrategy } from './place-bundles.ts';
import { type Resources, resourcesSchema, textOf } from './resources.ts';

const RESERVE_MS_MAX = 5000;
/** Between two attempts: what nodes have left may change without their telling it in the order it happens. */
const RETRY_MS = 100;

export interface PlacementGroupOptions {
  /** What each bundle takes; a bundle is on one node. */
  readonly bundles: readonly Resources[];
  /** Default PACK. */
  readonly strategy?: PlacementStrategy;
  /** How long to wait for nodes with room. */
  readonly deadlineMs: number;
}

export interface PlacedActorOptions {
  readonly name: string;
  readonly bundleIndex: number;
  /** What the actor takes of its bundle. Default one cpu. */
  readonly resources?: Resources;
  /** For the module's constructor; plain data. */
  readonly argument?: unknown;
  /** Default 0. */
  readonly maxRestarts?: number;
}

/** Bundles reserved on the nodes of a bus, all or none. They and the actors in them last as long as the process that made the
 *  group, or until it is disposed of. */
export class PlacementGroup implements Disposable {
  /** The node of each bundle. */
  readonly nodes: readonly Identity[];
  readonly #bus: MessageBus;
  readonly #id: string;
  readonly #lease: Lease;

  /** @throws PlacementError ERR_PLACEMENT_BUNDLE, or ERR_PLACEMENT_TIMEOUT with what the nodes have left. */
  static async create(bus: MessageBus, options: PlacementGroupOptions): Promise<PlacementGroup> {
    const { bundles, strategy = 'PACK', deadlineMs } = options;
    for (const [index, bundle] of bundles.entries()) {
      if (!resourcesSchema.safeParse(bundle).success)
        throw new PlacementError(
          'ERR_PLACEMENT_BUNDLE',
          `bundle ${index} takes ${textOf(bundle)}; it is whole units of one thing at least`,
        );
    }
    const deadlineAt = performance.now() + deadlineMs;
    const watch = bus.watch(NODES, () => {});
    try {
      for (;;) {
        const nodes = [...watch.members.values()].map(nodeOf);
        const places = placeBundles(
          bundles,
          nodes.map(({ free }) => free),
          strategy,
        );
        const chosen = places?.flatMap((place) => nodes[place]?.identity ?? []);
        const group = chosen && (await PlacementGroup.#reserve(bus, bundles, chosen));
        if (group) return group;
        if (performance.now() >= deadlineAt) {
          const wanted = bundles.map(textOf).join(', ');
          const there = nodes.map(({ identity, free }) => `${identity.name} ${textOf(free)}`).join(', ');
          throw new PlacementError(
            'ERR_PLACEMENT_TIMEOUT',
            `no room for the bundles ${wanted} (${strategy}) in ${deadlineMs} ms; left on the nodes: ${there || 'there are none'}`,
          );
        }
        await delay(RETRY_MS);
      }
    } finally {
      watch.close();
    }
  }

  /** @returns null when a node refused or did not answer: then the nodes give up what they had reserved, with the lease. */
  static async #reserve(
    bus: MessageBus,
    bundles: readonly Resources[],
    nodes: readonly Identity[],
  ): Promise<PlacementGroup | null> {
    const id = randomUUID();
    const lease = bus.announce(groupKey(id), null, { ttlMs: LEASE_TTL_MS });
    // One after another in an order that is the same for all, so that of two groups that want the same nodes one goes on.
    const incarnations = [...new Set(nodes.map(({ incarnation }) => incarnation))].toSorted();
    try {
      for (const incarnation of incarnations) {
        const theirs = bundles
          .map((resources, index) => ({ index, resources }))
          .filter(({ index }) => nodes[index]?.incarnation === incarnation);
        const { reserve } = NodeActor.handle(bus, nodeSubject(incarnation));
        await reserve.options({ deadlineMs: RESERVE_MS_MAX }).remote({ group: id, bundles: theirs });
      }
      return new PlacementGroup(bus, { id, nodes, lease });
    } catch (error) {
      lease.close();
      const isRefusal = error instanceof RemoteError && error.code === 'ERR_PLACEMENT_RESOURCES';
      if (isRefusal || error instanceof ActorDiedError || error instanceof ActorUnavailableError) return null;
      throw error;
    }
  }

  private constructor(bus: MessageBus, { id, nodes, lease }: { id: string; nodes: readonly Identity[]; lease: Lease }) {
    this.#bus = bus;
    this.#id = id;
    this.nodes = nodes;
    this.#lease = lease;
  }

  /** Starts an actor in a bundle, on its node. Resolves when it can be called.
   *  @throws PlacementError ERR_PLACEMENT_BUNDLE; RemoteError with the node's ERR_PLACEMENT_RESOURCES, ERR_PLACEMENT_GROUP,
   *  ERR_ACTOR_CLASS, ERR_ACTOR_NAME or ERR_ACTOR_DIED; ActorDiedError and ActorUnavailableError when the node is. */
  async createActor<M extends Methods>(actor: ActorClass<M>, options: PlacedActorOptions): Promise<ActorHandle<M>> {
    const { name, bundleIndex, resources = { cpu: 1, device: 0 }, argument = null, maxRestarts = 0 } = options;
    const node = this.nodes[bundleIndex];
    if (!node)
      throw new PlacementError(
        'ERR_PLACEMENT_BUNDLE',
        `there is no bundle ${bundleIndex}: the group has ${this.nodes.length}`,
      );
    const { create } = NodeActor.handle(this.#bus, nodeSubject(node.incarnation));
    const order = { name, bundleIndex, resources, argument, maxRestarts };
    await create.remote({ ...order, group: this.#id, actor: actor.name });
    return actor.handle(this.#bus, actorSubject(name));
  }

  /** Gives the bundles back; the actors in them are ended. */
  [Symbol.dispose](): void {
    this.#lease.close();
  }
}

function nodeOf({ from, value }: LeaseMember): { readonly identity: Identity; readonly free: Resources } {
  const advert = nodeAdvertSchema.safeParse(value);
  return { identity: from, free: advert.success ? advert.data.free : { cpu: 0, device: 0 } };
}
