import { assert } from './errors.ts';

/** Feedback slots: small integers under which ranks keep the last sampled id of a running request. A slot is reused only
 *  after every step that mentions it has finished, so that a late sample cannot be taken for the next owner's. */
export class SlotPool {
  readonly #free: number[];
  readonly #leaving: { readonly slot: number; readonly lastStep: number }[] = [];
  #lastFinishedStep = -1;

  constructor(numSlots: number) {
    this.#free = Array.from({ length: numSlots }, (_, i) => numSlots - 1 - i);
  }

  get numFree(): number {
    return this.#free.length;
  }

  get numLeaving(): number {
    return this.#leaving.length;
  }

  acquire(): number {
    const slot = this.#free.pop();
    assert(slot !== undefined, () => `no feedback slot is free, ${this.#leaving.length} are leaving`);
    return slot;
  }

  /** `lastStep` is the last step that mentions the slot; -1 when none does. */
  release(slot: number, lastStep: number): void {
    if (lastStep <= this.#lastFinishedStep) this.#free.push(slot);
    else this.#leaving.push({ slot, lastStep });
  }

  stepFinished(step: number): void {
    this.#lastFinishedStep = step;
    for (let i = this.#leaving.length - 1; i >= 0; i--) {
      const entry = this.#leaving[i];
      if (entry === undefined || entry.lastStep > step) continue;
      this.#leaving.splice(i, 1);
      this.#free.push(entry.slot);
    }
  }
}
