import type { Op } from '@skein/native';
import { ExpertPlacementError } from './errors.ts';

/** By expert: the ranks that have it, ascending. */
export type ExpertOwners = readonly (readonly number[])[];

/** Where the experts of a layer are. */
export interface ExpertPlacement {
  /** Index in the model. */
  readonly layer: number;
  readonly owners: ExpertOwners;
}

export interface Mixture {
  /** Index in the model. */
  readonly layer: number;
  readonly numExperts: number;
}

export interface PlacementOptions {
  /** Ranks that share the experts. */
  readonly ranks: number;
  /** Copies in each layer beyond the first of every expert. */
  readonly redundant: number;
}

/** Copies of a layer's experts that there is room for beyond one of each: no rank has two of one expert. */
export function redundantMax(numExperts: number, ranks: number): number {
  return numExperts * (ranks - 1);
}

/** Of a model that was recorded whole: those whose tokens are counted. */
export function mixturesOf(ops: readonly Op[]): Mixture[] {
  return ops.flatMap((op) =>
    op.op === 'experts' && op.layer !== null ? [{ layer: op.layer, numExperts: op.experts.length }] : [],
  );
}

/** @param loads by layer, by expert; null where nothing is known. Throws as placeExperts does. */
export function placeMixtures(
  mixtures: readonly Mixture[],
  options: PlacementOptions & { readonly loads: ReadonlyMap<number, readonly number[]> | null },
): ExpertPlacement[] {
  return mixtures.map(({ layer, numExperts }) => {
    const loads = options.loads?.get(layer) ?? Array<number>(numExperts).fill(1);
    return { layer, owners: placeExperts(loads, options) };
  });
}

/** Gives the most loaded experts copies, and every rank as many of all copies as the others, or one more, so that ranks have about
 *  as much to do. No rank has two copies of one expert. The same arguments give the same places, the fullest ranks first.
 *  @param loads of each expert, at least 0. @throws ExpertPlacementError where there would be more copies than ranks. */
export function placeExperts(loads: readonly number[], { ranks, redundant }: PlacementOptions): number[][] {
  const most = redundantMax(loads.length, ranks);
  if (redundant > most) {
    throw new ExpertPlacementError(
      `--num-redundant-experts is ${redundant}, and ${loads.length} experts over ${ranks} rank${ranks === 1 ? '' : 's'} have room for ${most} more copies, one of each on every rank; choose fewer, or more ranks`,
      { details: { redundant, redundantMax: most, experts: loads.length, ranks } },
    );
  }
  const counts = copyCounts(loads, { ranks, redundant });
  const packing = new Packing(ranks, loads.length + redundant);
  // The heaviest first: the light ones then fill what is left uneven.
  const copies = counts
    .flatMap((count, expert) => Array.from({ length: count }, () => ({ expert, load: (loads[expert] ?? 0) / count })))
    .sort((a, b) => b.load - a.load);
  for (const copy of copies) packing.add(copy);
  return packing.owners(loads.length);
}

/** How many copies each expert has: one more for that whose copies have most to do, again and again; of equals for that which
 *  has fewest. */
function copyCounts(loads: readonly number[], { ranks, redundant }: PlacementOptions): number[] {
  const counts = loads.map(() => 1);
  for (let i = 0; i < redundant; i++) {
    let most = { expert: -1, load: -1, count: 0 };
    for (const [expert, count] of counts.entries()) {
      const load = (loads[expert] ?? 0) / count;
      const isMore = load > most.load || (load === most.load && count < most.count);
      if (count < ranks && isMore) most = { expert, load, count };
    }
    counts[most.expert] = most.count + 1;
  }
  return counts;
}

interface Copy {
  readonly expert: number;
  readonly load: number;
}

/** Ranks that are being filled. */
class Packing {
  readonly #ranks: Copy[][];
  /** Copies that every rank has at least in the end, and ranks that have one more. */
  readonly #atLeast: number;
  readonly #fuller: number;

  constructor(ranks: number, copies: number) {
    this.#ranks = Array.from({ length: ranks }, () => []);
    this.#atLeast = Math.floor(copies / ranks);
    this.#fuller = copies % ranks;
  }

  /** Gives a copy to the rank that has least to do, of those that have room and no other copy of the expert. */
  add(copy: Copy): void {
    const roomy = this.#ranks.filter((rank) => this.#hasRoom(rank));
    const least = leastLoaded(roomy.filter((rank) => !has(rank, copy.expert)));
    if (least) {
      least.push(copy);
      return;
    }
    // All that have room have the expert. One without it is full, and has more copies than these: one of them can move.
    const to = leastLoaded(roomy);
    const from = this.#ranks.find((rank) => !has(rank, copy.expert));
    const moved = from?.findLast(({ expert }) => to && !has(to, expert));
    if (!to || !from || !moved) throw new RangeError(`there is no place for a copy of expert ${copy.expert}`);
    from.splice(from.indexOf(moved), 1, copy);
    to.push(moved);
  }

  owners(numExperts: number): number[][] {
    const fullestFirst = [...this.#ranks].sort((a, b) => b.length - a.length);
    return Array.from({ length: numExperts }, (_, expert) =>
      fullestFirst.flatMap((rank, index) => (has(rank, expert) ? [index] : [])),
    );
  }

  #hasRoom({ length }: readonly Copy[]): boolean {
    if (length !== this.#atLeast) return length < this.#atLeast;
    return this.#ranks.filter((rank) => rank.length > this.#atLeast).length < this.#fuller;
  }
}

function has(rank: readonly Copy[], wanted: number): boolean {
  return rank.some(({ expert }) => expert === wanted);
}

function leastLoaded(ranks: readonly Copy[][]): Copy[] | undefined {
  const [first, ...others] = ranks.map((rank) => ({ rank, load: loadOf(rank) }));
  // Where nothing is known of some experts they are dealt out.
  return others.reduce(
    (least, one) =>
      least === undefined || (one.load - least.load || one.rank.length - least.rank.length) < 0 ? one : least,
    first,
  )?.rank;
}

function loadOf(rank: readonly Copy[]): number {
  return rank.reduce((sum, { load }) => sum + load, 0);
}
