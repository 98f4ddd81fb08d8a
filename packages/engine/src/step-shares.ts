import type { Request } from './request.ts';
import type { ScheduledRequest } from './scheduler-output.ts';

/** The step being planned: who gets how many tokens, within the budgets for tokens and logit rows. */
export class StepShares {
  readonly #shares = new Map<Request, { readonly numTokens: number; readonly numRows: number }>();
  #tokensLeft: number;
  #rowsLeft: number;

  constructor(maxTokens: number, maxRows: number) {
    this.#tokensLeft = maxTokens;
    this.#rowsLeft = maxRows;
  }

  get size(): number {
    return this.#shares.size;
  }

  get tokensLeft(): number {
    return this.#tokensLeft;
  }

  get rowsLeft(): number {
    return this.#rowsLeft;
  }

  /** Most tokens, up to `most`, that `request` can have here: its rows count too, so a chunk whose prompt logprobs do not
   *  fit is cut. 0 when none fit. */
  fit(request: Request, most: number): number {
    let numTokens = Math.min(request.numTokensToCompute, most, this.#tokensLeft);
    // A token asks for at most one row, so no chunk longer than this one less the excess can fit.
    while (numTokens > 0) {
      const excess = request.numRowsFor(numTokens) - this.#rowsLeft;
      if (excess <= 0) return numTokens;
      numTokens -= excess;
    }
    return 0;
  }

  /** `numTokens` as `fit` allows. */
  add(request: Request, numTokens: number): void {
    const numRows = request.numRowsFor(numTokens);
    this.#shares.set(request, { numTokens, numRows });
    this.#tokensLeft -= numTokens;
    this.#rowsLeft -= numRows;
  }

  /** Takes the share of a request back, if it has one. */
  remove(request: Request): void {
    const share = this.#shares.get(request);
    if (!share) return;
    this.#shares.delete(request);
    this.#tokensLeft += share.numTokens;
    this.#rowsLeft += share.numRows;
  }

  /** In the order in which they were added. */
  list(): ScheduledRequest[] {
    return Array.from(this.#shares, ([request, { numTokens }]) => ({ request, numTokens }));
  }
}
