import { type Clock, systemClock } from './clock.ts';
import type { EngineConfig } from './engine-config.ts';
import { EngineCore } from './engine-core.ts';
import { EngineCounters } from './engine-counters.ts';
import type { EngineObserver, EngineProgress, EngineState, EngineStats, RequestOutcome } from './engine-observer.ts';
import { EngineError, ExecutorLostError } from './errors.ts';
import type { Executor } from './executor.ts';
import type { GenerateEvent, GenerateRequest } from './generate.ts';
import { Generation } from './generation.ts';
import type { KVCacheEvent } from './kv-cache-event.ts';
import { Request } from './request.ts';
import { checkFields } from './request-limits.ts';
import { type FailedRequest, type Preemption, type RequestUpdate, Scheduler } from './scheduler.ts';
import type { SchedulerOutput } from './scheduler-output.ts';

/** Serves requests on whatever executor is attached. Requests outlive executors: their tokens are here, so after a loss
 *  they are recomputed on the next one and their streams go on. */
export class Engine {
  readonly #config: EngineConfig;
  readonly #observer: Partial<EngineObserver>;
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #counters = new EngineCounters();
  readonly #generations = new Map<Request, Generation>();
  readonly #requestIds = new Set<string>();
  readonly #plannedAtMs = new Map<SchedulerOutput, number>();
  /** Since the observer was last told; no more than one turn of the loop brings. */
  #kvCacheEvents: KVCacheEvent[] = [];
  #core: EngineCore | null = null;
  #numArrived = 0;
  #lostAtMs: number;
  #cancelLostTimer: () => void;
  #wakeScheduled = false;
  #drained: PromiseWithResolvers<void> | null = null;
  #closed = false;
  #progress: EngineProgress;

  constructor(
    config: EngineConfig,
    options: { readonly observer?: Partial<EngineObserver>; readonly clock?: Clock } = {},
  ) {
    this.#config = config;
    this.#observer = options.observer ?? {};
    this.#clock = options.clock ?? systemClock;
    this.#scheduler = new Scheduler(config, {
      onPreemption: (preemption) => this.#preempted(preemption),
      ...(this.#observer.onKVCacheEvents ? { onKVCacheEvent: (event) => this.#kvCacheEvents.push(event) } : {}),
    });
    this.#lostAtMs = this.#clock.now();
    this.#progress = { stepsFinished: 0, atMs: this.#lostAtMs };
    this.#cancelLostTimer = this.#startLostTimer();
  }

  /** Runs one request. Leaving the loop ends it as stopped (its reader has what it wanted: a stop string, say), aborting
   *  `signal` as aborted; its blocks are free before the next step is planned.
   *  @throws EngineError, on the first or any later turn. */
  async *generate(input: GenerateRequest, signal: AbortSignal): AsyncGenerator<GenerateEvent, void, undefined> {
    if (signal.aborted) throw aborted(input.requestId, signal.reason);
    const generation = this.#add(input);
    const onAbort = (): void => this.#end(generation, 'abort', aborted(input.requestId, signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      for (;;) {
        const event = await generation.queue.next();
        yield event;
        if (event.finishReason !== null) return;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#end(generation, signal.aborted ? 'abort' : 'stop', null);
    }
  }

  /** Takes `executor` into use. One already in use is given up, as if it had been lost. Requests it cannot hold fail. */
  attach(executor: Executor): void {
    if (this.#closed) throw new EngineError('ERR_DRAINING', 'the engine is closed');
    if (this.#core) this.#lose(new ExecutorLostError('replaced by another executor'), []);
    this.#cancelLostTimer();
    const failed = this.#scheduler.reset(executor);
    this.#core = new EngineCore(this.#scheduler, executor, this.#clock, () => this.#wake());
    this.#failAll(failed);
    this.#wake();
  }

  /** Gives up the executor in use, when its owner knows before any step fails. */
  detach(cause: Error): void {
    if (this.#core) this.#lose(cause, []);
  }

  /** Refuses new requests from here on. @returns when the last one has its outcome. */
  drain(): Promise<void> {
    this.#drained ??= Promise.withResolvers<void>();
    this.#settleDrain();
    return this.#drained.promise;
  }

  /** Fails what is pending with ERR_ENGINE_LOST and lets go of the executor, which stays its owner's to close. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelLostTimer();
    this.#failPending('the engine is closed');
    this.#core = null;
    this.#drained ??= Promise.withResolvers<void>();
    this.#settleDrain();
  }

  get lastProgress(): EngineProgress {
    return this.#progress;
  }

  stats(): EngineStats {
    const { kv, running, waiting } = this.#scheduler;
    const core = this.#core;
    const { numPreemptions, numFinished, ...totals } = this.#counters;
    return {
      ...totals,
      state: this.#state(),
      numRunning: running.length,
      numWaiting: waiting.length,
      numStepsInFlight: core?.stepsUnderWay.length ?? 0,
      numBlocks: core ? kv.numBlocks : 0,
      numFreeBlocks: core ? kv.numFreeBlocks : 0,
      numCachedBlocks: core ? kv.numCachedBlocks : 0,
      numUsedBlocks: core ? kv.numUsedBlocks : 0,
      kvCacheUsage: core && kv.numBlocks > 0 ? kv.numUsedBlocks / kv.numBlocks : 0,
      numPreemptions: { ...numPreemptions },
      numFinished: { ...numFinished },
    };
  }

  /** All that the prefix cache holds, as the events that would bring a listener there. */
  cachedBlocks(): KVCacheEvent[] {
    return this.#scheduler.kv.storedBlocks();
  }

  /** @throws EngineError ERR_INTERNAL when blocks, slots or queues do not add up. */
  checkIntegrity(): void {
    this.#scheduler.checkIntegrity();
  }

  #state(): EngineState {
    if (this.#closed) return 'closed';
    if (this.#drained) return 'draining';
    return this.#core ? 'serving' : 'waiting-for-executor';
  }

  #add(input: GenerateRequest): Generation {
    const { requestId } = input;
    if (this.#closed || this.#drained) throw new EngineError('ERR_DRAINING', 'the engine takes no new requests');
    const lostMs = this.#core ? 0 : this.#clock.now() - this.#lostAtMs;
    if (!this.#core && lostMs >= this.#config.maxLostMs)
      throw new EngineError('ERR_ENGINE_LOST', `no executor for ${Math.round(lostMs)} ms`);
    if (this.#requestIds.has(requestId))
      throw new EngineError('ERR_INVALID_REQUEST', `request id ${requestId} is in use`);
    const request = new Request(input, this.#numArrived++);
    checkFields(request);
    this.#scheduler.add(request);
    const generation = new Generation(request, input.client, this.#clock.now());
    this.#generations.set(request, generation);
    this.#requestIds.add(requestId);
    this.#wake();
    return generation;
  }

  /** Runs the loop once more, soon. Through setImmediate, so that what happens in one turn of the event loop is planned
   *  together, and so that an executor that is always ready cannot starve sockets and timers. */
  #wake(): void {
    if (this.#wakeScheduled || this.#closed) return;
    this.#wakeScheduled = true;
    setImmediate(() => {
      this.#wakeScheduled = false;
      this.#run();
    });
  }

  #run(): void {
    const core = this.#core;
    if (!core) return;
    try {
      const { finished, updates, planned, lost } = core.step();
      const nowMs = this.#clock.now();
      for (const output of finished) this.#stepFinished(output, nowMs);
      for (const update of updates) this.#deliver(update, nowMs);
      for (const output of planned) this.#stepPlanned(output, nowMs);
      if (lost) this.#lose(lost, core.stepsUnderWay);
      this.#reportKVCacheEvents();
    } catch (error) {
      // A broken invariant: nothing in the pool can be trusted, so no request may go on as if it could.
      const cause = error instanceof Error ? error : new Error(String(error));
      this.#failPending('the engine broke one of its own rules', 'ERR_INTERNAL', cause);
      this.#lose(cause, []);
    }
  }

  #stepPlanned(output: SchedulerOutput, nowMs: number): void {
    this.#plannedAtMs.set(output, nowMs);
    for (const { request } of output.scheduled) {
      const generation = this.#generations.get(request);
      if (generation?.scheduled(nowMs)) this.#firstScheduled(generation);
    }
  }

  #firstScheduled({ request, ref }: Generation): void {
    const { numPromptTokens, numCachedTokens } = request;
    // A request that scores its prompt asks nothing of the cache.
    const looked = this.#config.enablePrefixCaching && request.promptLogprobs === null;
    const event = { ...ref, numQueries: looked ? numPromptTokens : 0, numHits: numCachedTokens ?? 0 };
    this.#counters.numPrefixCacheQueries += event.numQueries;
    this.#counters.numPrefixCacheHits += event.numHits;
    this.#observer.onPrefixCache?.(event);
  }

  #stepFinished(output: SchedulerOutput, nowMs: number): void {
    const plannedMs = this.#plannedAtMs.get(output) ?? nowMs;
    this.#plannedAtMs.delete(output);
    this.#counters.numStepsFinished += 1;
    this.#counters.numPrefillTokensComputed += output.numPrefillTokens;
    this.#progress = { stepsFinished: this.#counters.numStepsFinished, atMs: nowMs };
    const { step, scheduled, rows, numDecodeTokens, numPrefillTokens } = output;
    this.#observer.onStep?.({
      step,
      numSeqs: scheduled.length,
      numRows: rows.length,
      numDecodeTokens,
      numPrefillTokens,
      durationMs: nowMs - plannedMs,
    });
    if (!this.#observer.onRequestStep) return;
    for (const { request, numTokens } of scheduled) {
      this.#observer.onRequestStep({
        requestId: request.id,
        step,
        startMs: plannedMs,
        endMs: nowMs,
        numTokens,
        numSeqs: scheduled.length,
      });
    }
  }

  #deliver(update: RequestUpdate, nowMs: number): void {
    const generation = this.#generations.get(update.request);
    if (!generation) return;
    const { tokens, promptLogprobs, finishReason, stopReason } = update;
    const { numPromptTokens } = update.request;
    const numCachedTokens = update.request.numCachedTokens ?? 0;
    const { timeToFirstTokenMs, sinceLastMs } = generation.deliver(
      { tokens, promptLogprobs, finishReason, stopReason, numCachedTokens },
      nowMs,
    );
    this.#counters.numTokensGenerated += tokens.length;
    if (timeToFirstTokenMs !== null)
      this.#observer.onFirstToken?.({ ...generation.ref, timeToFirstTokenMs, numPromptTokens, numCachedTokens });
    this.#observer.onTokens?.({ ...generation.ref, numTokens: tokens.length, sinceLastMs });
    if (finishReason) this.#end(generation, finishReason, null);
  }

  #preempted({ request, cause, beneficiary, numTokensLost }: Preemption): void {
    this.#counters.numPreemptions[cause] += 1;
    this.#counters.numTokensLostToPreemption += numTokensLost;
    const generation = this.#generations.get(request);
    if (!generation) return;
    const { numPreemptions } = request;
    const beneficiaryId = beneficiary?.id ?? null;
    this.#observer.onPreemption?.({ ...generation.ref, cause, beneficiaryId, numTokensLost, numPreemptions });
  }

  #reportKVCacheEvents(): void {
    if (this.#kvCacheEvents.length === 0) return;
    const events = this.#kvCacheEvents;
    this.#kvCacheEvents = [];
    this.#observer.onKVCacheEvents?.(events);
  }

  /** Gives a request its outcome; the first one stands. `error` is what the reader gets after the events it has. */
  #end(generation: Generation, reason: RequestOutcome['reason'], error: EngineError | null): void {
    const { request } = generation;
    if (!this.#generations.delete(request)) return;
    this.#requestIds.delete(request.id);
    this.#scheduler.finish(request);
    if (error) generation.queue.fail(error);
    this.#counters.numFinished[reason] += 1;
    this.#observer.onFinished?.(
      generation.outcome(reason, reason === 'error' ? (error?.code ?? null) : null, this.#clock.now()),
    );
    // Blocks and slots came free: others may start.
    this.#wake();
    this.#settleDrain();
  }

  #failAll(failed: readonly FailedRequest[]): void {
    for (const { request, error } of failed) {
      const generation = this.#generations.get(request);
      if (generation) this.#end(generation, 'error', error);
    }
  }

  #failPending(message: string, code: 'ERR_ENGINE_LOST' | 'ERR_INTERNAL' = 'ERR_ENGINE_LOST', cause?: Error): void {
    for (const generation of [...this.#generations.values()]) {
      this.#end(
        generation,
        'error',
        new EngineError(code, message, { cause, details: { requestId: generation.request.id } }),
      );
    }
  }

  #lose(cause: Error, blamed: readonly SchedulerOutput[]): void {
    this.#core = null;
    this.#plannedAtMs.clear();
    this.#lostAtMs = this.#clock.now();
    this.#counters.numExecutorsLost += 1;
    this.#cancelLostTimer = this.#startLostTimer();
    this.#failAll(this.#scheduler.executorLost(blamed));
    this.#reportKVCacheEvents();
    this.#observer.onExecutorLost?.(cause);
  }

  #startLostTimer(): () => void {
    const { maxLostMs } = this.#config;
    return this.#clock.after(maxLostMs, () => this.#failPending(`no executor for ${maxLostMs} ms`));
  }

  #settleDrain(): void {
    if (this.#generations.size === 0) this.#drained?.resolve();
  }
}

function aborted(requestId: string, reason: unknown): EngineError {
  return new EngineError('ERR_ABORTED', 'the request was aborted', { cause: reason, details: { requestId } });
}
