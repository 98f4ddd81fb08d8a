import { type LogitRules, logitRulesWords } from '@skein/native';
import type { BlockHash } from './block-hash.ts';
import type { GeneratedToken, GenerateRequest, SamplingParams } from './generate.ts';
import { cacheKeyOf, type CacheOwner } from './kv-cache-event.ts';

export type RequestStatus = 'waiting' | 'running' | 'finished';

/** A request as the scheduler sees it: tokens known, tokens computed, and how far prompt logprobs have come.
 *
 *  Positions:  |<------ tokenIds ------>|<- numPendingTokens ->|
 *              | prompt    | outputs    | sampled in a step under way: value unknown here
 *              |<---- numComputedTokens ---->|   (steps under way count as computed: every rank runs them in order)
 */
export class Request {
  readonly id: string;
  /** Order of arrival: the scheduler's only notion of age. */
  readonly arrival: number;
  /** Lower goes first, under the policy `priority`. */
  readonly priority: number;
  readonly sampling: SamplingParams;
  /** Whose cached blocks it may reuse, and the same as one string. */
  readonly owner: CacheOwner;
  readonly cacheKey: string;
  /** Of its full blocks, as far as they were needed; KVCacheManager fills it. */
  readonly blockHashes: BlockHash[] = [];
  readonly numPromptTokens: number;
  /** Prompt, then every sampled token that has arrived. */
  readonly tokenIds: number[];
  readonly stopTokenIds: ReadonlySet<number>;
  /** As the ranks need them; null when the request has none. */
  readonly logitRules: LogitRules | null;
  /** sampling.maxTokens, capped by what the executor can hold. */
  maxTokens: number;
  status: RequestStatus = 'waiting';
  /** Feedback slot while running. */
  slot: number | null = null;
  numComputedTokens = 0;
  numPendingTokens = 0;
  /** Prompt tokens found in the prefix cache when it was first admitted; null before. */
  numCachedTokens: number | null = null;
  /** Last step that mentions this request; -1 before any. */
  lastScheduledStep = -1;
  /** Last step that samples a token of it; what a placeholder depends on. */
  lastSampledStep = -1;
  numPreemptions = 0;
  /** Whether a step planned since the request got its slot has brought its logit rules there. */
  hasPlannedRules = false;
  /** Executors lost under this request since its last new token. */
  numLosses = 0;
  /** Prompt position whose logprob is the next to plan; position 0 has none. */
  nextPromptTarget = 1;
  /** Those that have arrived, in position order; null when none were asked for. */
  readonly promptLogprobs: (GeneratedToken | null)[] | null;

  constructor(request: GenerateRequest, arrival: number) {
    this.id = request.requestId;
    this.arrival = arrival;
    this.priority = request.priority ?? 0;
    this.sampling = request.sampling;
    this.owner = { client: request.client, cacheSalt: request.cacheSalt ?? null };
    this.cacheKey = cacheKeyOf(this.owner);
    this.numPromptTokens = request.promptTokenIds.length;
    this.tokenIds = [...request.promptTokenIds];
    this.stopTokenIds = new Set(request.sampling.stopTokenIds);
    this.logitRules = rulesOf(request);
    this.maxTokens = request.sampling.maxTokens;
    this.promptLogprobs = request.sampling.numPromptLogprobs === null ? null : [null];
  }

  /** Tokens that have a position, their value known here or not. */
  get numTokens(): number {
    return this.tokenIds.length + this.numPendingTokens;
  }

  /** Outputs that have a position: the noise position of the next one. */
  get numOutputTokens(): number {
    return this.numTokens - this.numPromptTokens;
  }

  /** 0 when every output it may have is sampled or being sampled. */
  get numTokensToCompute(): number {
    return this.numOutputTokens >= this.maxTokens ? 0 : this.numTokens - this.numComputedTokens;
  }

  /** Tokens at most that cached blocks may stand in for: the last one is computed, since the next is sampled from it, and
   *  so are those whose prompt logprobs are still wanted. */
  get numSkippableTokens(): number {
    const last = this.numTokens - 1;
    return this.promptLogprobs === null ? last : Math.min(last, this.nextPromptTarget - 1);
  }

  get isDecode(): boolean {
    return this.numTokensToCompute === 1 && this.numOutputTokens > 0;
  }

  /** Logit rows that the next `numTokens` tokens ask for: prompt positions to score, and the sample at the end. */
  numRowsFor(numTokens: number): number {
    const end = this.numComputedTokens + numTokens;
    return this.promptTargetsUntil(end).count + (end === this.numTokens ? 1 : 0);
  }

  /** Words of logit rules that the next `numTokens` tokens bring along: those of the first row in a slot. */
  numRuleWordsFor(numTokens: number): number {
    const samples = this.numComputedTokens + numTokens === this.numTokens;
    if (!samples || this.logitRules === null || this.hasPlannedRules) return 0;
    return logitRulesWords(this.logitRules, this.numOutputTokens);
  }

  /** Prompt positions whose logprob comes out of computing positions below `end`: `first`, and `count` of them. */
  promptTargetsUntil(end: number): { readonly first: number; readonly count: number } {
    const first = Math.max(this.nextPromptTarget, this.numComputedTokens + 1);
    const last = this.promptLogprobs === null ? 0 : Math.min(end, this.numPromptTokens - 1);
    return { first, count: Math.max(0, last - first + 1) };
  }

  /** Gives up computed state; known tokens stay. Rows of steps under way still arrive. */
  rewind(): void {
    this.status = 'waiting';
    this.slot = null;
    this.numComputedTokens = 0;
    this.hasPlannedRules = false;
    this.numPreemptions += 1;
  }

  /** The steps under way will never finish: what they would have brought has to be planned again. */
  forgetStepsUnderWay(): void {
    this.numPendingTokens = 0;
    this.lastScheduledStep = -1;
    this.nextPromptTarget = this.promptLogprobs?.length ?? 1;
    // The next executor may have blocks of another size.
    this.blockHashes.length = 0;
  }
}

function rulesOf({ sampling, promptTokenIds }: GenerateRequest): LogitRules | null {
  if (sampling.logitRules === null) return null;
  const promptIds = sampling.logitRules.repetitionPenalty === 1 ? [] : [...new Set(promptTokenIds)];
  return { ...sampling.logitRules, promptIds };
}
