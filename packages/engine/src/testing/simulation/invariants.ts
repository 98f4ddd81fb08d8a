import type { EngineConfig } from '../../engine-config.ts';
import type { Scheduler } from '../../scheduler.ts';
import type { SchedulerOutput } from '../../scheduler-output.ts';
import { hold } from './violation.ts';

export function checkBudgets({ step, input, scheduled }: SchedulerOutput, config: EngineConfig): void {
  let numTokens = 0;
  for (const { tokenIds } of input.sequences) {
    hold(tokenIds.length > 0, () => `step ${step} has an empty sequence`);
    numTokens += tokenIds.length;
  }
  const { maxNumBatchedTokens, maxNumRows, maxNumSeqs } = config;
  hold(numTokens <= maxNumBatchedTokens, () => `step ${step} has ${numTokens} tokens of ${maxNumBatchedTokens}`);
  hold(input.rows.length <= maxNumRows, () => `step ${step} has ${input.rows.length} rows of ${maxNumRows}`);
  hold(scheduled.length <= maxNumSeqs, () => `step ${step} has ${scheduled.length} requests of ${maxNumSeqs}`);
  for (const { request } of scheduled)
    hold(request.status === 'running', () => `step ${step} computes ${request.id}, which is ${request.status}`);
  const slots = input.rows.flatMap((row) => row.slot ?? []);
  hold(new Set(slots).size === slots.length, () => `step ${step} samples into one slot twice: ${slots.join()}`);
}

/** Requests may hold a block together only at the same place, with equal tokens, for one owner. */
export function checkSharing(scheduler: Scheduler, blockSize: number): void {
  const holders = new Map<number, { readonly request: Scheduler['running'][number]; readonly at: number }>();
  for (const request of scheduler.running) {
    for (const [at, id] of scheduler.kv.blockTable(request.id).entries()) {
      const other = holders.get(id);
      if (!other) {
        holders.set(id, { request, at });
        continue;
      }
      const what = (): string => `block ${id} is held by ${request.id} at ${at} and ${other.request.id} at ${other.at}`;
      hold(other.at === at && other.request.cacheKey === request.cacheKey, what);
      for (let p = at * blockSize; p < (at + 1) * blockSize; p++) {
        const token = request.tokenIds[p];
        hold(token !== undefined && token === other.request.tokenIds[p], what);
      }
    }
  }
}

/** The first request in the policy's order is in a step every so often, while it is the first. */
export class ProgressWatch {
  #first = '';
  #numSteps = 0;

  /** After each planned step; `first` as it was before. */
  planned(
    output: SchedulerOutput,
    first: { readonly id: string; readonly numPendingTokens: number },
    numStepsMax: number,
  ): void {
    const advances = first.numPendingTokens > 0 || output.scheduled.some(({ request }) => request.id === first.id);
    if (advances || this.#first !== first.id) this.#numSteps = 0;
    else this.#numSteps += 1;
    this.#first = first.id;
    hold(this.#numSteps <= numStepsMax, () => `${first.id} is first and was left out of ${this.#numSteps} steps`);
  }
}
