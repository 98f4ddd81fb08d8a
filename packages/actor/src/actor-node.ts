import type { BusTarget, Lease, MessageBus } from '@skein/message-bus';
import type { z } from 'zod';
import { actorClass, type ActorImplementation } from './actor-class.ts';
import { ActorProcess } from './actor-process.ts';
import { ActorCallError, PlacementError } from './errors.ts';
import { hostActor, type HostedActor } from './host-actor.ts';
import { LEASE_TTL_MS, NodeActor, type NodeAdvert, NODES, nodeSubject } from './node-class.ts';
import { Reservation } from './reservation.ts';
import { ResourcePool, type Resources, sumOf, textOf } from './resources.ts';

export interface ActorNodeOptions {
  readonly bus: MessageBus;
  /** How the processes started here join the same bus. */
  readonly join: BusTarget;
  /** What there is to reserve. The node counts; it confines nobody to what was counted. */
  readonly resources: Resources;
  /** The modules that call `runActor`, by the name of the class they host. Nothing else can be started here from elsewhere. */
  readonly modules: ReadonlyMap<string, URL>;
}

type Reserve = z.output<typeof NodeActor.methods.reserve.input>;
type Create = z.output<typeof NodeActor.methods.create.input>;

/** A place where placement groups reserve bundles and start actors, in processes that end with this one. */
export class ActorNode implements ActorImplementation<typeof NodeActor.methods>, AsyncDisposable {
  readonly #options: ActorNodeOptions;
  readonly #pool: ResourcePool;
  readonly #reservations = new Map<string, Reservation>();
  readonly #hosted: HostedActor;
  readonly #lease: Lease;

  constructor(options: ActorNodeOptions) {
    const { bus, resources } = options;
    this.#options = options;
    this.#pool = new ResourcePool(resources);
    const { incarnation } = bus.identity;
    // A start takes a second, and what it needs is taken at once.
    this.#hosted = hostActor(bus, nodeSubject(incarnation), NodeActor, this, { concurrent: ['create'] });
    this.#lease = bus.announce(`${NODES}.${incarnation}`, this.#advert(), { ttlMs: LEASE_TTL_MS });
  }

  /** @throws PlacementError ERR_PLACEMENT_RESOURCES, with nothing reserved. */
  async reserve({ group, bundles }: Reserve): Promise<null> {
    const wanted = sumOf(bundles.map(({ resources }) => resources));
    if (this.#reservations.has(group)) throw new PlacementError('ERR_PLACEMENT_GROUP', `${group} is here already`);
    if (!this.#pool.take(wanted))
      throw new PlacementError(
        'ERR_PLACEMENT_RESOURCES',
        `the bundles take ${textOf(wanted)}, ${this.#options.bus.identity.name} has ${textOf(this.#pool.free)} left`,
      );
    const onEnd = (): void => void this.#release(group, wanted);
    this.#reservations.set(group, new Reservation(this.#options.bus, { group, bundles, onEnd }));
    this.#lease.update(this.#advert());
    return null;
  }

  /** @throws PlacementError, ActorCallError ERR_ACTOR_CLASS or ERR_ACTOR_NAME, ActorDiedError. */
  async create({ group, actor, name, argument, maxRestarts, ...at }: Create): Promise<null> {
    const { bus, join, modules } = this.#options;
    const module = modules.get(actor);
    if (!module)
      throw new ActorCallError('ERR_ACTOR_CLASS', `${bus.identity.name} has no module for the class ${actor}`);
    const reservation = this.#reservations.get(group);
    if (!reservation)
      throw new PlacementError('ERR_PLACEMENT_GROUP', `${bus.identity.name} keeps nothing for ${group}`);
    await reservation.place(at, (onGone) => {
      const onDeath = ({ restarts }: { readonly restarts: boolean | null }): void => {
        if (restarts === false) onGone();
      };
      return ActorProcess.start(actorClass(actor, {}), { name, module, bus, join, argument, maxRestarts, onDeath });
    });
    return null;
  }

  /** Gives every reservation up, with its actors. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#lease.close();
    this.#hosted.close();
    const reservations = [...this.#reservations.values()];
    this.#reservations.clear();
    await Promise.all(reservations.map((reservation) => reservation.end()));
  }

  async #release(group: string, resources: Resources): Promise<void> {
    const reservation = this.#reservations.get(group);
    if (!reservation) return;
    this.#reservations.delete(group);
    await reservation.end();
    this.#pool.giveBack(resources);
    // The bus may have been closed meanwhile.
    if (this.#options.bus.connected) this.#lease.update(this.#advert());
  }

  #advert(): NodeAdvert {
    return { free: this.#pool.free };
  }
}
