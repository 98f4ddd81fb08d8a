import type { SchedulerOutput } from './scheduler-output.ts';

/** How much the last step counts. Two thirds: a load changes between long prompts and single tokens in one step. */
const WEIGHT = 2 / 3;

/** How long a step takes here and now: an average of the time per token, from the steps that have finished. */
export class StepPace {
  #msPerToken = 0;

  /** `durationMs` without the time it waited for the step before it. */
  finished(output: SchedulerOutput, durationMs: number): void {
    const msPerToken = durationMs / Math.max(1, numTokens(output));
    this.#msPerToken =
      this.#msPerToken === 0 ? msPerToken : this.#msPerToken + WEIGHT * (msPerToken - this.#msPerToken);
  }

  /** 0 until a step has finished. */
  predictMs(output: SchedulerOutput): number {
    return this.#msPerToken * numTokens(output);
  }
}

function numTokens({ numDecodeTokens, numPrefillTokens }: SchedulerOutput): number {
  return numDecodeTokens + numPrefillTokens;
}
