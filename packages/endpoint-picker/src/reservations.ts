/** A request's claim on an endpoint, from the moment it was picked. */
export interface Reservation {
  readonly name: string;
  /** Gives the claim up. Further calls do nothing. */
  release(): void;
}

/** Counts the claims on each endpoint. Claims are made at pick time, so that a burst sees its own picks. */
export class Reservations {
  readonly #counts = new Map<string, number>();

  /** All claims together; 0 when nothing is in flight. */
  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  count(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  reserve(name: string): Reservation {
    this.#counts.set(name, this.count(name) + 1);
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      const left = this.count(name) - 1;
      if (left > 0) this.#counts.set(name, left);
      else this.#counts.delete(name);
    };
    return { name, release };
  }
}
