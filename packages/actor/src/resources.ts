import { z } from 'zod';

/** What an actor or a bundle takes of a node, in whole units. */
export const resourcesSchema = z
  .object({ cpu: z.int().min(0), device: z.int().min(0) })
  .refine(({ cpu, device }) => cpu + device > 0, 'takes nothing');
export type Resources = Readonly<z.infer<typeof resourcesSchema>>;

/** An amount that may be taken from and given back to. */
export class ResourcePool {
  #free: Resources;

  constructor(total: Resources) {
    this.#free = total;
  }

  get free(): Resources {
    return this.#free;
  }

  holds({ cpu, device }: Resources): boolean {
    return cpu <= this.#free.cpu && device <= this.#free.device;
  }

  /** @returns false, with nothing taken, when there is not enough. */
  take(wanted: Resources): boolean {
    if (!this.holds(wanted)) return false;
    this.#free = { cpu: this.#free.cpu - wanted.cpu, device: this.#free.device - wanted.device };
    return true;
  }

  giveBack(taken: Resources): void {
    this.#free = { cpu: this.#free.cpu + taken.cpu, device: this.#free.device + taken.device };
  }
}

export function sumOf(parts: readonly Resources[]): Resources {
  return parts.reduce((sum, { cpu, device }) => ({ cpu: sum.cpu + cpu, device: sum.device + device }), {
    cpu: 0,
    device: 0,
  });
}

export function textOf({ cpu, device }: Resources): string {
  return `{cpu: ${cpu}, device: ${device}}`;
}
