import { assert, EngineError } from './errors.ts';
import type { EngineConfig } from './engine-config.ts';
import type { FinishReason, GeneratedToken } from './generate.ts';
import type { KVCacheEvent } from './kv-cache-event.ts';
import { KVCacheManager } from './kv-cache-manager.ts';
import { chooseDecodes, prefillShare } from './policy.ts';
import { PrefixCache } from './prefix-cache.ts';
import type { Request } from './request.ts';
import { endsInRepetition } from './repetition.ts';
import { checkRequest, type SchedulerCapacity } from './request-limits.ts';
import { type RequestOrder, requestOrders, RequestQueue } from './request-queue.ts';
import { buildStep, type SchedulerOutput } from './scheduler-output.ts';
import { SlotPool } from './slot-pool.ts';
import { StepShares } from './step-shares.ts';
import { chooseVictim, preemptionCost } from './victim.ts';

export type PreemptionCause = 'kv-cache' | 'executor-lost';

/** A request under which this many executors were lost, without a token in between, runs alone; */
const LOSSES_UNTIL_ALONE = 2;
/** and fails at this many. */
const LOSSES_MAX = 3;
/** Waiting requests passed over at most in one step, for a prefix that another is about to compute. */
const DEFERRED_MAX = 64;

export type SchedulerConfig = Pick<
  EngineConfig,
  'maxNumSeqs' | 'maxNumBatchedTokens' | 'maxNumRows' | 'maxWaiting' | 'enablePrefixCaching' | 'schedulingPolicy'
>;

export interface Preemption {
  readonly request: Request;
  readonly cause: PreemptionCause;
  /** Who needed its blocks; null when the executor was lost. */
  readonly beneficiary: Request | null;
  /** Computed tokens it loses, at most. */
  readonly numTokensLost: number;
}

/** What a scheduler reports as it happens; be quick, never throw. */
export interface SchedulerObserver {
  onPreemption(preemption: Preemption): void;
  onKVCacheEvent(event: KVCacheEvent): void;
}

/** What one finished step means for one request. */
export interface RequestUpdate {
  readonly request: Request;
  readonly tokens: readonly GeneratedToken[];
  readonly promptLogprobs: readonly (GeneratedToken | null)[] | null;
  readonly finishReason: FinishReason | null;
  readonly stopReason: number | null;
}

export interface FailedRequest {
  readonly request: Request;
  readonly error: EngineError;
}

/** Decides what each step computes. A pure function of its state: no clock, no randomness, no I/O.
 *
 *  There are no phases. Each request has known tokens and computed tokens, and a step gives some requests some tokens to
 *  compute until the two meet; then the last row samples one more. Long prompts in chunks, planning a step before the
 *  last one's tokens are here, and starting over after preemption are all that one rule.
 *
 *  The first request in the policy's order always advances: it may take the blocks of any other, nothing may take its
 *  blocks, and the budgets leave it a token when every other request has one. Under fcfs every request becomes the first. */
export class Scheduler {
  readonly #config: SchedulerConfig;
  readonly #observer: Partial<SchedulerObserver>;
  readonly #order: RequestOrder;
  readonly #running: RequestQueue;
  readonly #waiting: RequestQueue;
  #capacity: SchedulerCapacity | null = null;
  #kv: KVCacheManager = withoutBlocks();
  #slots: SlotPool;
  #nextStep = 0;
  #numPreempted = 0;

  constructor(config: SchedulerConfig, observer: Partial<SchedulerObserver> = {}) {
    this.#config = config;
    this.#observer = observer;
    this.#order = requestOrders[config.schedulingPolicy];
    this.#running = new RequestQueue(this.#order);
    this.#waiting = new RequestQueue(this.#order);
    this.#slots = new SlotPool(config.maxNumSeqs);
  }

  get kv(): KVCacheManager {
    return this.#kv;
  }

  get running(): readonly Request[] {
    return this.#running.requests;
  }

  get waiting(): readonly Request[] {
    return this.#waiting.requests;
  }

  /** Starts over on an empty pool. @returns requests that this capacity cannot hold; they are finished here. */
  reset(capacity: SchedulerCapacity): FailedRequest[] {
    assert(this.#running.length === 0, () => `reset with ${this.#running.length} requests running`);
    this.#capacity = capacity;
    this.#kv = this.createKVCache(capacity);
    this.#slots = new SlotPool(this.#config.maxNumSeqs);
    const failed: FailedRequest[] = [];
    for (const request of this.#waiting.requests) {
      const error = checkRequest(request, capacity);
      if (error) failed.push({ request, error });
    }
    for (const { request } of failed) this.finish(request);
    return failed;
  }

  /** @throws EngineError when the queue is full or the request can never fit. */
  add(request: Request): void {
    const { maxWaiting } = this.#config;
    if (this.#waiting.length >= maxWaiting) {
      const details = { numWaiting: this.#waiting.length, maxWaiting };
      throw new EngineError('ERR_OVERLOADED', `${this.#waiting.length} requests are waiting, ${maxWaiting} may`, {
        details,
      });
    }
    const error = this.#capacity && checkRequest(request, this.#capacity);
    if (error) throw error;
    this.#waiting.insert(request);
  }

  /** Plans one step, or none: null when nothing can be computed until a step under way finishes or a request comes. */
  schedule(numStepsUnderWay: number): SchedulerOutput | null {
    if (this.#capacity === null) return null;
    const shares = new StepShares(this.#config.maxNumBatchedTokens, this.#config.maxNumRows);
    const suspect = this.#suspect();
    if (suspect) this.#scheduleAlone(shares, suspect, numStepsUnderWay);
    else this.#scheduleAll(shares, this.#capacity.numStages);
    if (shares.size === 0) return null;
    const scheduled = shares.list();
    const output = buildStep(this.#nextStep++, scheduled, (r, n) =>
      this.#kv.blockTable(r.id).slice(0, this.#kv.blocksFor(n)),
    );
    // Not before the whole step is built: requests of one step compute side by side, so none may stand on another.
    for (const { request } of scheduled) this.#kv.cacheFullBlocks(request);
    return output;
  }

  /** Takes in the rows of the oldest step under way. Rows of requests that ended meanwhile are dropped; those of preempted
   *  ones count, since their step ran before anything could overwrite its blocks. */
  update(output: SchedulerOutput, rows: readonly GeneratedToken[]): RequestUpdate[] {
    const updates: RequestUpdate[] = [];
    for (const [i, { request, kind }] of output.rows.entries()) {
      const row = rows[i];
      assert(row !== undefined, () => `step ${output.step} has ${output.rows.length} rows, ${rows.length} came`);
      if (request.status === 'finished') continue;
      if (kind === 'promptLogprob') request.promptLogprobs?.push(row);
      else updates.push(this.#append(request, row));
    }
    this.#slots.stepFinished(output.step);
    return updates;
  }

  /** Ends a request in whatever state it is; its blocks are free on return. */
  finish(request: Request): void {
    if (request.status === 'running') this.#leaveRunning(request);
    else if (request.status === 'waiting') this.#waiting.remove(request);
    request.status = 'finished';
  }

  /** All steps under way are void and the pool is gone. Running requests go back to the queue with the tokens they have.
   *  @returns requests given up because executors keep dying under them; they are finished here. */
  executorLost(stepsUnderWay: readonly SchedulerOutput[]): FailedRequest[] {
    const touched = new Set(
      stepsUnderWay.flatMap((s) => s.scheduled.map((x) => x.request)).filter((r) => r.status !== 'finished'),
    );
    for (const request of touched) request.numLosses += 1;
    for (const request of this.running.toReversed()) this.#preempt(request, null);
    for (const request of this.waiting) request.forgetStepsUnderWay();
    this.#capacity = null;
    this.#kv = withoutBlocks();
    this.#observer.onKVCacheEvent?.({ type: 'AllBlocksCleared' });
    const failed = [...touched].filter((r) => r.numLosses >= LOSSES_MAX);
    for (const request of failed) this.finish(request);
    return failed.map((request) => {
      const details = { requestId: request.id, numLosses: request.numLosses };
      return {
        request,
        error: new EngineError(
          'ERR_INTERNAL',
          `${request.numLosses} executors were lost while computing this request`,
          { details },
        ),
      };
    });
  }

  /** @throws EngineError ERR_INTERNAL when a count or an order is off. For tests and for when the engine is idle. */
  checkIntegrity(): void {
    this.#kv.checkIntegrity();
    const numSlots = this.#slots.numFree + this.#slots.numLeaving + this.#running.length;
    assert(
      numSlots === this.#config.maxNumSeqs,
      () => `${numSlots} feedback slots, ${this.#config.maxNumSeqs} expected`,
    );
    this.#running.checkOrder();
    this.#waiting.checkOrder();
  }

  /** The pool of an executor, empty. */
  protected createKVCache(capacity: SchedulerCapacity): KVCacheManager {
    const { numBlocks, blockSize } = capacity;
    const prefixCache = this.#config.enablePrefixCaching ? new PrefixCache() : null;
    return new KVCacheManager({ numBlocks, blockSize, prefixCache, onEvent: this.kvCacheListener });
  }

  protected get kvCacheListener(): ((event: KVCacheEvent) => void) | null {
    const { onKVCacheEvent } = this.#observer;
    return onKVCacheEvent ? (event) => onKVCacheEvent(event) : null;
  }

  #scheduleAll(shares: StepShares, numStages: number): void {
    const numPreempted = this.#numPreempted;
    this.#startFirst();
    const { running, waiting } = this;
    const decodes = chooseDecodes(running, this.#nextStep, numStages);
    this.#shareDecodes(shares, decodes.due, decodes.quota);
    let prefillLeft = prefillShare(running, waiting, numStages);
    for (const request of [...running]) {
      if (request.isDecode || request.status !== 'running') continue;
      prefillLeft -= this.#share(shares, request, prefillLeft);
    }
    // What was just preempted for want of blocks must not come back in the same breath.
    if (this.#numPreempted === numPreempted) this.#admit(shares, prefillLeft);
    if (shares.size === 0) this.#shareDecodes(shares, decodes.early, decodes.quota);
  }

  /** Starts the head of the queue when it goes before all that run, at their cost if need be. That happens to one that was
   *  preempted, or by priority. */
  #startFirst(): void {
    const { first } = this.#waiting;
    if (!first || (this.#running.first && this.#order(this.#running.first, first) < 0)) return;
    // Its tokens under way, or a slot that steps under way still mention, are on their way: wait, at nobody's cost.
    while (first.numPendingTokens === 0 && (this.#slots.numFree > 0 || this.#slots.numLeaving === 0)) {
      if (this.#start(first, 0)) return;
      const victim = this.#victimFor(first);
      if (!victim) return;
      this.#preempt(victim, first);
    }
  }

  #shareDecodes(shares: StepShares, decodes: readonly Request[], quota: number): void {
    let left = quota;
    for (const request of decodes) {
      if (left === 0) return;
      if (request.status === 'running') left -= this.#share(shares, request, 1);
    }
  }

  /** In the policy's order: whoever cannot start yet holds back all who come later. */
  #admit(shares: StepShares, prefillShare: number): void {
    let left = prefillShare;
    let numDeferred = 0;
    while (left > 0 && shares.tokensLeft > 0 && shares.rowsLeft > 0 && numDeferred < DEFERRED_MAX) {
      const request = this.waiting[numDeferred];
      if (!request) return;
      if (this.#isPrefixOnItsWay(request)) numDeferred += 1;
      // A block per running request stays free, or the newcomer would soon push others out and be pushed out itself.
      else if (this.#start(request, this.#running.length)) left -= this.#share(shares, request, left);
      else return;
    }
  }

  /** Whether a request before it is about to compute what it would have to compute first: choices of one prompt, say. Then it
   *  finds that in the cache a step later. It waits for requests before it only, so it delays nobody for ever. */
  #isPrefixOnItsWay(request: Request): boolean {
    return this.running.some(
      (other) => !other.isDecode && this.#order(other, request) < 0 && this.#kv.wouldShare(request, other),
    );
  }

  /** Moves a waiting request to the running ones if it can have a slot and blocks for all its known tokens, such that
   *  `numSpareBlocks` remain. */
  #start(request: Request, numSpareBlocks: number): boolean {
    // Tokens still on their way are part of what a preempted request must recompute.
    if (request.numPendingTokens > 0 || this.#slots.numFree === 0) return false;
    const numCachedTokens = this.#kv.admit(request, request.numTokens, numSpareBlocks);
    if (numCachedTokens === null) return false;
    request.numComputedTokens = numCachedTokens;
    request.numCachedTokens ??= numCachedTokens;
    request.slot = this.#slots.acquire();
    request.status = 'running';
    this.#waiting.remove(request);
    this.#running.insert(request);
    return true;
  }

  /** Gives a running request up to `most` tokens of the step, pushing out others when the pool is short.
   *  @returns how many it got. */
  #share(shares: StepShares, request: Request, most: number): number {
    const numTokens = shares.fit(request, most);
    if (numTokens === 0) return 0;
    while (!this.#kv.grow(request.id, request.numComputedTokens + numTokens)) {
      const victim = this.#victimFor(request);
      // The last in order keeps its blocks and waits: one before it takes them when it must.
      if (!victim) return 0;
      shares.remove(victim);
      this.#preempt(victim, request);
    }
    shares.add(request, numTokens);
    return numTokens;
  }

  #victimFor(needy: Request): Request | undefined {
    return chooseVictim(this.running, needy, { order: this.#order, kv: this.#kv });
  }

  /** `beneficiary`: null when the executor was lost. */
  #preempt(request: Request, beneficiary: Request | null): void {
    const cause = beneficiary ? 'kv-cache' : 'executor-lost';
    const numTokensLost = beneficiary ? preemptionCost(request, this.#kv) : request.numComputedTokens;
    this.#numPreempted += 1;
    this.#leaveRunning(request);
    request.rewind();
    this.#waiting.insert(request);
    this.#observer.onPreemption?.({ request, cause, beneficiary, numTokensLost });
  }

  #leaveRunning(request: Request): void {
    this.#running.remove(request);
    this.#kv.free(request.id);
    if (request.slot !== null) this.#slots.release(request.slot, request.lastScheduledStep);
    request.slot = null;
  }

  #append(request: Request, token: GeneratedToken): RequestUpdate {
    assert(request.numPendingTokens > 0, () => `request ${request.id} got a token that no step owed it`);
    request.numPendingTokens -= 1;
    request.numLosses = 0;
    request.tokenIds.push(token.tokenId);
    this.#kv.cacheFullBlocks(request);
    const numOutputs = request.tokenIds.length - request.numPromptTokens;
    const stopped = request.stopTokenIds.has(token.tokenId);
    const finishReason = stopped ? 'stop' : finishReasonOf(request, numOutputs);
    if (finishReason) this.finish(request);
    return {
      request,
      tokens: [token],
      promptLogprobs: numOutputs === 1 ? request.promptLogprobs : null,
      finishReason,
      stopReason: stopped && !request.sampling.eosTokenIds.includes(token.tokenId) ? token.tokenId : null,
    };
  }

  /** After repeated losses the requests that were there run one by one, so that the one to blame fails alone. */
  #suspect(): Request | undefined {
    const suspicious = (r: Request): boolean => r.numLosses >= LOSSES_UNTIL_ALONE;
    return this.running.find(suspicious) ?? this.waiting.find(suspicious);
  }

  #scheduleAlone(shares: StepShares, suspect: Request, numStepsUnderWay: number): void {
    if (numStepsUnderWay > 0) return;
    if (suspect.status === 'waiting') {
      // Requests that are past suspicion may hold what the suspect needs.
      while (!this.#start(suspect, 0)) {
        const last = this.running.at(-1);
        if (!last) return;
        this.#preempt(last, suspect);
      }
    }
    if (suspect.status === 'running') this.#share(shares, suspect, Number.MAX_SAFE_INTEGER);
  }
}

function withoutBlocks(): KVCacheManager {
  return new KVCacheManager({ numBlocks: 0, blockSize: 1, prefixCache: null });
}

/** Why a request ends after a token that is no stop token; null when it goes on. */
function finishReasonOf(request: Request, numOutputs: number): FinishReason | null {
  if (numOutputs >= request.maxTokens) return 'length';
  const { repetitionDetection: detection, logitRules } = request.sampling;
  if (detection === null || numOutputs < (logitRules?.minTokens ?? 0)) return null;
  return endsInRepetition(request.tokenIds, request.numPromptTokens, detection) ? 'repetition' : null;
}
