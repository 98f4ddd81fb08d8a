import { assert, EngineError } from './errors.ts';
import type { EngineConfig } from './engine-config.ts';
import type { FinishReason, GeneratedToken } from './generate.ts';
import { KVCacheManager } from './kv-cache-manager.ts';
import { chooseDecodes, prefillShare } from './policy.ts';
import type { Request } from './request.ts';
import { checkRequest, type SchedulerCapacity } from './request-limits.ts';
import { buildStep, type SchedulerOutput } from './scheduler-output.ts';
import { SlotPool } from './slot-pool.ts';
import { StepShares } from './step-shares.ts';

export type PreemptionCause = 'kv-cache' | 'executor-lost';

/** A request under which this many executors were lost, without a token in between, runs alone; */
const LOSSES_UNTIL_ALONE = 2;
/** and fails at this many. */
const LOSSES_MAX = 3;

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
 *  The oldest request always advances: it may take the blocks of any other, nothing may take its blocks, and the budgets
 *  leave it a token when every other request has one. */
export class Scheduler {
  readonly #config: Pick<EngineConfig, 'maxNumSeqs' | 'maxNumBatchedTokens' | 'maxNumRows' | 'maxWaiting'>;
  readonly #onPreemption: (request: Request, cause: PreemptionCause) => void;
  /** Both in order of arrival. */
  readonly #running: Request[] = [];
  readonly #waiting: Request[] = [];
  #capacity: SchedulerCapacity | null = null;
  #kv: KVCacheManager = new KVCacheManager({ numBlocks: 0, blockSize: 1 });
  #slots: SlotPool;
  #nextStep = 0;

  constructor(
    config: Pick<EngineConfig, 'maxNumSeqs' | 'maxNumBatchedTokens' | 'maxNumRows' | 'maxWaiting'>,
    onPreemption: (request: Request, cause: PreemptionCause) => void = () => {},
  ) {
    this.#config = config;
    this.#onPreemption = onPreemption;
    this.#slots = new SlotPool(config.maxNumSeqs);
  }

  get kv(): KVCacheManager {
    return this.#kv;
  }

  get running(): readonly Request[] {
    return this.#running;
  }

  get waiting(): readonly Request[] {
    return this.#waiting;
  }

  /** Starts over on an empty pool. @returns requests that this capacity cannot hold; they are finished here. */
  reset(capacity: SchedulerCapacity): FailedRequest[] {
    assert(this.#running.length === 0, () => `reset with ${this.#running.length} requests running`);
    this.#capacity = capacity;
    this.#kv = new KVCacheManager(capacity);
    this.#slots = new SlotPool(this.#config.maxNumSeqs);
    const failed: FailedRequest[] = [];
    for (const request of this.#waiting) {
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
    this.#waiting.push(request);
  }

  /** Plans one step, or none: null when nothing can be computed until a step under way finishes or a request comes. */
  schedule(numStepsUnderWay: number): SchedulerOutput | null {
    if (this.#capacity === null) return null;
    const shares = new StepShares(this.#config.maxNumBatchedTokens, this.#config.maxNumRows);
    const suspect = this.#suspect();
    if (suspect) this.#scheduleAlone(shares, suspect, numStepsUnderWay);
    else this.#scheduleAll(shares, this.#capacity.numStages);
    if (shares.size === 0) return null;
    return buildStep(this.#nextStep++, shares.list(), (r, n) =>
      this.#kv.blockTable(r.id).slice(0, this.#kv.blocksFor(n)),
    );
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
    else if (request.status === 'waiting') remove(this.#waiting, request);
    request.status = 'finished';
  }

  /** All steps under way are void and the pool is gone. Running requests go back to the queue with the tokens they have.
   *  @returns requests given up because executors keep dying under them; they are finished here. */
  executorLost(stepsUnderWay: readonly SchedulerOutput[]): FailedRequest[] {
    const touched = new Set(
      stepsUnderWay.flatMap((s) => s.scheduled.map((x) => x.request)).filter((r) => r.status !== 'finished'),
    );
    for (const request of touched) request.numLosses += 1;
    for (const request of this.#running.toReversed()) this.#preempt(request, 'executor-lost');
    for (const request of this.#waiting) request.forgetStepsUnderWay();
    this.#capacity = null;
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
    const held = this.#running.reduce((n, r) => n + this.#kv.blockTable(r.id).length, 0);
    assert(
      held === this.#kv.numUsedBlocks,
      () => `running requests hold ${held} KV blocks, ${this.#kv.numUsedBlocks} are used`,
    );
    const numSlots = this.#slots.numFree + this.#slots.numLeaving + this.#running.length;
    assert(
      numSlots === this.#config.maxNumSeqs,
      () => `${numSlots} feedback slots, ${this.#config.maxNumSeqs} expected`,
    );
    for (const queue of [this.#running, this.#waiting]) {
      for (const [i, r] of queue.entries())
        assert(i === 0 || (queue[i - 1]?.arrival ?? 0) < r.arrival, () => `request ${r.id} is out of order`);
    }
  }

  #scheduleAll(shares: StepShares, numStages: number): void {
    const numRunning = this.#running.length;
    const decodes = chooseDecodes(this.#running, this.#nextStep, numStages);
    this.#shareDecodes(shares, decodes.due, decodes.quota);
    let prefillLeft = prefillShare(this.#running, this.#waiting, numStages);
    for (const request of [...this.#running]) {
      if (request.isDecode || request.status !== 'running') continue;
      prefillLeft -= this.#share(shares, request, prefillLeft);
    }
    // What was just preempted for want of blocks must not come back in the same breath.
    if (this.#running.length === numRunning) this.#admit(shares, prefillLeft);
    if (shares.size === 0) this.#shareDecodes(shares, decodes.early, decodes.quota);
  }

  #shareDecodes(shares: StepShares, decodes: readonly Request[], quota: number): void {
    let left = quota;
    for (const request of decodes) {
      if (left === 0) return;
      if (request.status === 'running') left -= this.#share(shares, request, 1);
    }
  }

  /** First come, first served: whoever cannot start yet holds back all who came later. */
  #admit(shares: StepShares, prefillShare: number): void {
    let left = prefillShare;
    while (left > 0 && shares.tokensLeft > 0 && shares.rowsLeft > 0) {
      const request = this.#waiting[0];
      if (!request || !this.#start(request)) return;
      left -= this.#share(shares, request, left);
    }
  }

  /** Moves a waiting request to the running ones if it can have a slot and blocks for all its known tokens. A block per
   *  running request stays free, or the newcomer would soon push others out and be pushed out itself. */
  #start(request: Request): boolean {
    // Tokens still on their way are part of what a preempted request must recompute.
    if (request.numPendingTokens > 0 || this.#slots.numFree === 0) return false;
    const reserve = this.#running.length;
    if (this.#kv.blocksFor(request.numTokens) + reserve > this.#kv.numFreeBlocks) return false;
    this.#kv.allocate(request.id, request.numTokens);
    request.slot = this.#slots.acquire();
    request.status = 'running';
    remove(this.#waiting, request);
    insertByArrival(this.#running, request);
    return true;
  }

  /** Gives a running request up to `most` tokens of the step, pushing out later arrivals when the pool is short.
   *  @returns how many it got. */
  #share(shares: StepShares, request: Request, most: number): number {
    const numTokens = shares.fit(request, most);
    if (numTokens === 0) return 0;
    while (this.#kv.allocate(request.id, request.numComputedTokens + numTokens) === null) {
      const victim = this.#running.at(-1);
      // The latest arrival keeps its blocks and waits: an older request takes them when it must.
      if (!victim || victim.arrival <= request.arrival) return 0;
      shares.remove(victim);
      this.#preempt(victim, 'kv-cache');
    }
    shares.add(request, numTokens);
    return numTokens;
  }

  #preempt(request: Request, cause: PreemptionCause): void {
    this.#leaveRunning(request);
    request.rewind();
    insertByArrival(this.#waiting, request);
    this.#onPreemption(request, cause);
  }

  #leaveRunning(request: Request): void {
    remove(this.#running, request);
    this.#kv.free(request.id);
    if (request.slot !== null) this.#slots.release(request.slot, request.lastScheduledStep);
    request.slot = null;
  }

  #append(request: Request, token: GeneratedToken): RequestUpdate {
    assert(request.numPendingTokens > 0, () => `request ${request.id} got a token that no step owed it`);
    request.numPendingTokens -= 1;
    request.numLosses = 0;
    request.tokenIds.push(token.tokenId);
    const numOutputs = request.tokenIds.length - request.numPromptTokens;
    const stopped = request.stopTokenIds.has(token.tokenId);
    const finishReason = stopped ? 'stop' : numOutputs >= request.maxTokens ? 'length' : null;
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
    return this.#running.find(suspicious) ?? this.#waiting.find(suspicious);
  }

  #scheduleAlone(shares: StepShares, suspect: Request, numStepsUnderWay: number): void {
    if (numStepsUnderWay > 0) return;
    if (suspect.status === 'waiting') {
      // Requests that are past suspicion may hold what the suspect needs.
      while (!this.#start(suspect) && this.#running.length > 0)
        this.#preempt(this.#running[this.#running.length - 1] ?? suspect, 'kv-cache');
    }
    if (suspect.status === 'running') this.#share(shares, suspect, Number.MAX_SAFE_INTEGER);
  }
}

function insertByArrival(queue: Request[], request: Request): void {
  const at = queue.findLastIndex((r) => r.arrival < request.arrival);
  queue.splice(at + 1, 0, request);
}

function remove(queue: Request[], request: Request): void {
  const at = queue.indexOf(request);
  assert(at >= 0, () => `request ${request.id} is not where its status says`);
  queue.splice(at, 1);
}
