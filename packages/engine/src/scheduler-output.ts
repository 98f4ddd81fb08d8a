import { GREEDY_ROW, type SlotRules, type StepInput, type StepRow, type StepSequence } from '@skein/native';
import type { Request } from './request.ts';

/** What a logit row is for: the next token of a request, or the logprob of one of its prompt tokens. */
export interface RowOwner {
  readonly request: Request;
  readonly kind: 'sample' | 'promptLogprob';
}

export interface ScheduledRequest {
  readonly request: Request;
  readonly numTokens: number;
}

/** One planned step: what the ranks compute, and whose each row is. */
export interface SchedulerOutput {
  readonly step: number;
  readonly input: StepInput;
  readonly scheduled: readonly ScheduledRequest[];
  /** One per row of `input`. */
  readonly rows: readonly RowOwner[];
  readonly numDecodeTokens: number;
  readonly numPrefillTokens: number;
}

/** Turns shares of tokens into a step, and counts those tokens as computed in each request. Requests keep the order given. */
export function buildStep(
  step: number,
  scheduled: readonly ScheduledRequest[],
  blockTable: (request: Request, numTokens: number) => readonly number[],
): SchedulerOutput {
  const sequences: StepSequence[] = [];
  const rows: StepRow[] = [];
  const owners: RowOwner[] = [];
  const rules: SlotRules[] = [];
  let [numTokens, numDecodeTokens, feedbackStep] = [0, 0, -1];
  for (const { request, numTokens: n } of scheduled) {
    const start = request.numComputedTokens;
    if (request.isDecode) numDecodeTokens += n;
    const tokenIds = request.tokenIds.slice(start, start + n);
    if (tokenIds.length < n) {
      // Only the newest token can be unknown: its id stays on the ranks, and this step depends on the one that samples it.
      tokenIds.push(feedbackTokenOf(request));
      feedbackStep = Math.max(feedbackStep, request.lastSampledStep);
    }
    sequences.push({ tokenIds, numComputedTokens: start, blockIds: blockTable(request, start + n) });
    for (const row of rowsOf(request, n, numTokens)) {
      rows.push(row);
      owners.push({ request, kind: row.target === null ? 'sample' : 'promptLogprob' });
    }
    rules.push(...newRules(request, n));
    advance(request, n, step);
    numTokens += n;
  }
  const maxLogprobs = rows.reduce((most, row) => Math.max(most, row.numLogprobs ?? 0), 0);
  const numPrefillTokens = numTokens - numDecodeTokens;
  return {
    step,
    input: { step, feedbackStep, sequences, rows, maxLogprobs, rules },
    scheduled,
    rows: owners,
    numDecodeTokens,
    numPrefillTokens,
  };
}

/** Placeholder for an id that the request's feedback slot holds, as `feedbackToken` of the native facade spells it. */
function feedbackTokenOf(request: Request): number {
  return -1 - (request.slot ?? 0);
}

function rowsOf(request: Request, numTokens: number, firstToken: number): StepRow[] {
  const rows: StepRow[] = [];
  const { sampling: s, numComputedTokens: start } = request;
  const targets = request.promptTargetsUntil(start + numTokens);
  for (let position = targets.first; position < targets.first + targets.count; position++) {
    const target = request.tokenIds[position] ?? 0;
    const token = firstToken + position - 1 - start;
    rows.push({ ...GREEDY_ROW, token, target, numLogprobs: s.numPromptLogprobs });
  }
  if (start + numTokens === request.numTokens) {
    rows.push({
      token: firstToken + numTokens - 1,
      target: null,
      slot: request.slot,
      temperature: s.temperature,
      topK: s.topK,
      topP: s.topP,
      minP: s.minP,
      seed: s.seed,
      choice: s.choice,
      // Counts outputs before this one, so that a recomputed request meets the same noise.
      position: request.numOutputTokens,
      numLogprobs: s.numLogprobs,
      ruled: request.logitRules !== null,
    });
  }
  return rows;
}

/** The request's logit rules, if its next `numTokens` tokens end in its first row since it got its slot. From then on the rank
 *  counts what it samples there, so that a step planned ahead needs no token that is not known yet. A request gets a slot
 *  only with all its tokens known. */
function newRules(request: Request, numTokens: number): SlotRules[] {
  const { logitRules, slot } = request;
  if (logitRules === null || slot === null || request.numRuleWordsFor(numTokens) === 0) return [];
  request.hasPlannedRules = true;
  return [{ slot, rules: logitRules, outputIds: request.tokenIds.slice(request.numPromptTokens) }];
}

function advance(request: Request, numTokens: number, step: number): void {
  const end = request.numComputedTokens + numTokens;
  const targets = request.promptTargetsUntil(end);
  request.nextPromptTarget += targets.count;
  const samples = end === request.numTokens;
  request.numComputedTokens = end;
  request.lastScheduledStep = step;
  if (!samples) return;
  request.numPendingTokens += 1;
  request.lastSampledStep = step;
}
