import { assert } from './errors.ts';
import type { Request } from './request.ts';

/** fcfs: first come, first served. priority: lower values first, arrival breaks ties. */
export type SchedulingPolicy = 'fcfs' | 'priority';

/** Negative when `a` goes before `b`. */
export type RequestOrder = (a: Request, b: Request) => number;

export const requestOrders: Readonly<Record<SchedulingPolicy, RequestOrder>> = {
  fcfs: (a, b) => a.arrival - b.arrival,
  priority: (a, b) => a.priority - b.priority || a.arrival - b.arrival,
};

/** Requests in the policy's order. */
export class RequestQueue {
  readonly #order: RequestOrder;
  readonly #requests: Request[] = [];

  constructor(order: RequestOrder) {
    this.#order = order;
  }

  /** Live: changes with the queue. */
  get requests(): readonly Request[] {
    return this.#requests;
  }

  get length(): number {
    return this.#requests.length;
  }

  get first(): Request | undefined {
    return this.#requests[0];
  }

  insert(request: Request): void {
    const at = this.#requests.findLastIndex((r) => this.#order(r, request) < 0);
    this.#requests.splice(at + 1, 0, request);
  }

  remove(request: Request): void {
    const at = this.#requests.indexOf(request);
    assert(at >= 0, () => `request ${request.id} is not where its status says`);
    this.#requests.splice(at, 1);
  }

  checkOrder(): void {
    for (const [i, r] of this.#requests.entries()) {
      const before = this.#requests[i - 1];
      assert(before === undefined || this.#order(before, r) < 0, () => `request ${r.id} is out of order`);
    }
  }
}
