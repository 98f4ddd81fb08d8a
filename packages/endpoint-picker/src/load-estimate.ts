/** What an endpoint reports of its load includes our own requests, some of which it has not seen yet. What others have there
 *  is what it reported above our own count at that moment; that share fades, so that a stale report starves nobody. */
export class LoadEstimate {
  readonly #halfLifeMs: number;
  #others = 0;
  #atMs = 0;

  constructor(halfLifeMs: number) {
    this.#halfLifeMs = halfLifeMs;
  }

  report(report: { readonly numRequests: number; readonly ownRequests: number; readonly nowMs: number }): void {
    this.#others = Math.max(0, report.numRequests - report.ownRequests);
    this.#atMs = report.nowMs;
  }

  load(ownRequests: number, nowMs: number): number {
    if (this.#others === 0) return ownRequests;
    return ownRequests + this.#others * 0.5 ** (Math.max(0, nowMs - this.#atMs) / this.#halfLifeMs);
  }
}
