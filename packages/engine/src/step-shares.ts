import type { Request } from './request.ts';
import type { ScheduledRequest } from './scheduler-output.ts';

/** Words of logit rules in one step: a quarter of what a frame between leader and ranks holds. A single request may exceed it,
 *  since its rules are bounded by its own tokens and the vocabulary. */
const RULE_WORDS_MAX = 1 << 19;

interface Share {
  readonly numTokens: number;
  readonly numRows: number;
  readonly numRuleWords: number;
}

/** The step being planned: who gets how many tokens, within the budgets for tokens, logit rows and words of logit rules. */
export class StepShares {
  readonly #shares = new Map<Request, Share>();
  #tokensLeft: number;
  #rowsLeft: number;
  #numRuleWords = 0;

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
      if (excess <= 0 && this.#fitsRules(request.numRuleWordsFor(numTokens))) return numTokens;
      numTokens -= Math.max(excess, 1);
    }
    return 0;
  }

  /** `numTokens` as `fit` allows. */
  add(request: Request, numTokens: number): void {
    const numRows = request.numRowsFor(numTokens);
    const numRuleWords = request.numRuleWordsFor(numTokens);
    this.#shares.set(request, { numTokens, numRows, numRuleWords });
    this.#tokensLeft -= numTokens;
    this.#rowsLeft -= numRows;
    this.#numRuleWords += numRuleWords;
  }

  /** Takes the share of a request back, if it has one. */
  remove(request: Request): void {
    const share = this.#shares.get(request);
    if (!share) return;
    this.#shares.delete(request);
    this.#tokensLeft += share.numTokens;
    this.#rowsLeft += share.numRows;
    this.#numRuleWords -= share.numRuleWords;
  }

  /** In the order in which they were added. */
  list(): ScheduledRequest[] {
    return Array.from(this.#shares, ([request, { numTokens }]) => ({ request, numTokens }));
  }

  #fitsRules(numRuleWords: number): boolean {
    return this.#numRuleWords === 0 || this.#numRuleWords + numRuleWords <= RULE_WORDS_MAX;
  }
}
