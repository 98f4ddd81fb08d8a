import type { Request } from './request.ts';

/** A prompt is not cut finer than this to fill a pipeline: smaller steps cost more in reading weights than they hide. */
const MIN_PREFILL_CHUNK = 128;
/** Waiting prompts looked at when prefill work is shared out; more would not change a step. */
const WAITING_LOOKAHEAD = 64;

export interface DecodeChoice {
  /** Requests to decode, least recently scheduled first; at most `quota` of them go into the step. */
  readonly due: readonly Request[];
  /** Requests in one of the last numStages - 1 steps: decoding them would make this step wait for that one to leave the last
   *  stage. Taken only where the step would otherwise be empty. */
  readonly early: readonly Request[];
  readonly quota: number;
}

/** With p stages, decodes are dealt over p consecutive steps, so that p batches circulate and each meets its own sampled
 *  ids when it comes round. With one stage every decode is due in every step. */
export function chooseDecodes(running: readonly Request[], step: number, numStages: number): DecodeChoice {
  const decodes = running.filter((r) => r.isDecode).sort((a, b) => a.lastScheduledStep - b.lastScheduledStep);
  const firstEarly = decodes.findIndex((r) => r.lastScheduledStep >= 0 && r.lastScheduledStep > step - numStages);
  const numDue = firstEarly < 0 ? decodes.length : firstEarly;
  return { due: decodes.slice(0, numDue), early: decodes.slice(numDue), quota: Math.ceil(decodes.length / numStages) };
}

/** Prefill tokens for one step, so that the prompts at hand spread over the stages instead of crossing them as one lump. */
export function prefillShare(running: readonly Request[], waiting: readonly Request[], numStages: number): number {
  if (numStages === 1) return Number.MAX_SAFE_INTEGER;
  let numTokens = 0;
  for (const r of running) if (!r.isDecode && r.numTokensToCompute > 0) numTokens += r.tokenIds.length;
  for (const r of waiting.slice(0, WAITING_LOOKAHEAD)) numTokens += r.tokenIds.length;
  return Math.max(MIN_PREFILL_CHUNK, Math.ceil(numTokens / numStages));
}
