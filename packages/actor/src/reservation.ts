import type { MessageBus } from '@skein/message-bus';
import { PlacementError } from './errors.ts';
import { groupKey, LEASE_TTL_MS } from './node-class.ts';
import { ResourcePool, type Resources, textOf } from './resources.ts';

export interface ReservationOptions {
  readonly group: string;
  readonly bundles: readonly { readonly index: number; readonly resources: Resources }[];
  /** The group is given up, or its maker is gone. */
  readonly onEnd: () => void;
}

/** The bundles that a node keeps for one placement group, and the actors in them, while the group's lease lives. */
export class Reservation {
  readonly #bundles: ReadonlyMap<number, ResourcePool>;
  readonly #actors = new Set<Promise<AsyncDisposable>>();
  readonly #watch: { close(): void };
  readonly #unheard: NodeJS.Timeout;
  #isEnded = false;

  constructor(bus: MessageBus, options: ReservationOptions) {
    this.#bundles = new Map(options.bundles.map(({ index, resources }) => [index, new ResourcePool(resources)]));
    // Whoever withdrew the lease before this node looked for it is never heard.
    this.#unheard = setTimeout(options.onEnd, LEASE_TTL_MS);
    this.#watch = bus.watch(groupKey(options.group), (event) => {
      clearTimeout(this.#unheard);
      if (event.type === 'lost') options.onEnd();
    });
  }

  /** Puts an actor into a bundle. `start` is told what to call when the actor is gone for good.
   *  @throws PlacementError ERR_PLACEMENT_RESOURCES, ERR_PLACEMENT_GROUP, and what `start` throws. */
  async place(
    at: { readonly bundleIndex: number; readonly resources: Resources },
    start: (onGone: () => void) => Promise<AsyncDisposable>,
  ): Promise<void> {
    const { bundleIndex, resources } = at;
    const bundle = this.#bundles.get(bundleIndex);
    if (!bundle || this.#isEnded)
      throw new PlacementError('ERR_PLACEMENT_GROUP', `bundle ${bundleIndex} of the group is not on this node`);
    if (!bundle.take(resources))
      throw new PlacementError(
        'ERR_PLACEMENT_RESOURCES',
        `the actor takes ${textOf(resources)}, bundle ${bundleIndex} has ${textOf(bundle.free)} left`,
      );
    const gone = Promise.withResolvers<void>();
    const actor = start(gone.resolve);
    this.#actors.add(actor);
    void gone.promise.then(() => {
      this.#actors.delete(actor);
      bundle.giveBack(resources);
    });
    try {
      await actor;
    } catch (error) {
      gone.resolve();
      throw error;
    }
  }

  /** Ends the actors. */
  async end(): Promise<void> {
    this.#isEnded = true;
    clearTimeout(this.#unheard);
    this.#watch.close();
    await Promise.allSettled([...this.#actors].map(async (actor) => (await actor)[Symbol.asyncDispose]()));
  }
}
