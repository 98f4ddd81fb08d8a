import { ResourcePool, type Resources } from './resources.ts';

/** As in Ray. PACK: on few nodes; SPREAD: on many, both as far as there is room. STRICT_SPREAD: no two on one node. */
export type PlacementStrategy = 'PACK' | 'SPREAD' | 'STRICT_SPREAD';

/** Bounds the search, which is exponential at worst: bundles that only fit in one odd order may be taken for too many. */
const TRIES_MAX = 10_000;

/** Chooses a node for each bundle.
 *  @param free what each node has left.
 *  @returns an index into `free` for each bundle, in the order of the bundles; null when they do not all fit. */
export function placeBundles(
  bundles: readonly Resources[],
  free: readonly Resources[],
  strategy: PlacementStrategy,
): number[] | null {
  const nodes = free.map((resources, index) => ({ index, pool: new ResourcePool(resources), numBundles: 0 }));
  const places = bundles.map(() => -1);
  // The large ones first, while there is room for them; devices are what is short.
  const order = [...bundles.keys()].toSorted((a, b) => compare(bundles[b], bundles[a]));
  let triesLeft = TRIES_MAX;

  const place = (at: number): boolean => {
    const bundleIndex = order[at];
    const bundle = bundleIndex === undefined ? undefined : bundles[bundleIndex];
    if (bundleIndex === undefined || bundle === undefined) return true;
    const preference = strategy === 'PACK' ? -1 : 1;
    const candidates = nodes
      .filter(({ pool, numBundles }) => pool.holds(bundle) && !(strategy === 'STRICT_SPREAD' && numBundles > 0))
      .toSorted((a, b) => preference * (a.numBundles - b.numBundles) || compare(b.pool.free, a.pool.free));
    for (const node of candidates) {
      if (triesLeft === 0) return false;
      triesLeft -= 1;
      node.pool.take(bundle);
      node.numBundles += 1;
      places[bundleIndex] = node.index;
      if (place(at + 1)) return true;
      node.pool.giveBack(bundle);
      node.numBundles -= 1;
    }
    return false;
  };

  return place(0) ? places : null;
}

function compare(a: Resources | undefined, b: Resources | undefined): number {
  return (a?.device ?? 0) - (b?.device ?? 0) || (a?.cpu ?? 0) - (b?.cpu ?? 0);
}
