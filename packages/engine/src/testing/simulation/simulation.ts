import { EngineError } from '../../errors.ts';
import type { GeneratedToken } from '../../generate.ts';
import { requestOrders } from '../../request-queue.ts';
import type { FailedRequest, RequestUpdate } from '../../scheduler.ts';
import type { SchedulerOutput } from '../../scheduler-output.ts';
import { Random } from '../random.ts';
import { EventMirror } from './event-mirror.ts';
import { checkBudgets, checkSharing, ProgressWatch } from './invariants.ts';
import { SimulatedScheduler } from './planted-bugs.ts';
import { randomCapacity, randomScenario, type Scenario, type SimulatedCapacity } from './scenario.ts';
import { SimulatedRanks } from './simulated-ranks.ts';
import { Truth } from './truth.ts';
import { hold } from './violation.ts';
import { WeakHasher } from './weak-hasher.ts';
import { Workload } from './workload.ts';

const STEPS_MIN = 200;
const REQUESTS_MIN = 20;
const TURNS_MAX = 50_000;

/** What a run came to, so that a test can tell whether the runs met what they are there to meet. */
export type SimulationCounts = {
  steps: number;
  requests: number;
  aborted: number;
  refused: number;
  failed: number;
  losses: number;
  preemptions: number;
  cachedTokens: number;
  removedBlocks: number;
};

interface StepUnderWay {
  readonly output: SchedulerOutput;
  readonly rows: readonly GeneratedToken[];
}

/** One seeded life of the real scheduler and cache on simulated ranks. Everything is decided by the seed. */
class Simulation {
  readonly counts: SimulationCounts;
  readonly #random: Random;
  readonly #scenario: Scenario;
  readonly #scheduler: SimulatedScheduler;
  readonly #workload: Workload;
  readonly #mirror = new EventMirror();
  readonly #progress = new ProgressWatch();
  readonly #truths = new Map<string, Truth>();
  readonly #tags = new Map<string, number>();
  #capacity: SimulatedCapacity;
  #ranks: SimulatedRanks;
  #underWay: StepUnderWay[] = [];
  #stalledTurns = 0;
  #numArrived = 0;

  constructor(seed: number, schedulerClass: typeof SimulatedScheduler) {
    this.counts = {
      steps: 0,
      requests: 0,
      aborted: 0,
      refused: 0,
      failed: 0,
      losses: 0,
      preemptions: 0,
      cachedTokens: 0,
      removedBlocks: 0,
    };
    this.#random = new Random(seed);
    this.#scenario = randomScenario(this.#random);
    this.#workload = new Workload(this.#scenario, this.#random);
    this.#scheduler = new schedulerClass(new WeakHasher(this.#scenario.hashBits), this.#scenario.config, {
      onPreemption: ({ cause }) => (this.counts.preemptions += cause === 'kv-cache' ? 1 : 0),
      onKVCacheEvent: (event) => {
        this.#mirror.take(event);
        if (event.type === 'BlockRemoved') this.counts.removedBlocks += event.blockHashes.length;
      },
    });
    [this.#capacity, this.#ranks] = this.#newExecutor();
  }

  /** @throws Violation, or an EngineError from an assertion. */
  run(): void {
    const { counts } = this;
    let isOpen = true;
    for (let turn = 0; isOpen || this.#truths.size > 0; turn++) {
      hold(turn < TURNS_MAX, () => `${this.#truths.size} requests are not done after ${turn} turns`);
      isOpen &&= counts.steps < STEPS_MIN || counts.requests < REQUESTS_MIN;
      this.#turn(isOpen);
    }
    this.#settle(this.#underWay.length);
    this.#scheduler.checkIntegrity();
    this.#mirror.checkAgainst(this.#scheduler.kv.storedBlocks());
    hold(this.#scheduler.kv.numUsedBlocks === 0, () => 'blocks are held by nobody');
  }

  #turn(isOpen: boolean): void {
    const { arrivalRate, abortRate, lossRate, settleRate, stallRate } = this.#scenario;
    const random = this.#random;
    if (isOpen && random.chance(arrivalRate) && (this.#hasRoom() || random.chance(0.02))) this.#arrive();
    if (random.chance(abortRate)) this.#abort();
    if (this.#stalledTurns > 0) this.#stalledTurns -= 1;
    else if (random.chance(stallRate)) this.#stalledTurns = random.int(1, 12);
    else if (random.chance(settleRate)) this.#settle(random.int(1, 2));
    if (random.chance(lossRate)) this.#loseExecutor();
    this.#plan();
    this.#scheduler.checkIntegrity();
    checkSharing(this.#scheduler, this.#capacity.blockSize);
    const { running, waiting } = this.#scheduler;
    const numLive = this.#truths.size;
    hold(running.length + waiting.length === numLive, () => `${numLive} requests live, not all are queued`);
  }

  #hasRoom(): boolean {
    return this.#scheduler.waiting.length < this.#scenario.config.maxWaiting;
  }

  #arrive(): void {
    const request = this.#scheduler.createRequest(this.#workload.next(), this.#numArrived++);
    try {
      this.#scheduler.add(request);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code === 'ERR_INTERNAL') throw error;
      this.counts.refused += 1;
      return;
    }
    const tag = this.#tags.get(request.cacheKey) ?? this.#tags.size + 1;
    this.#tags.set(request.cacheKey, tag);
    this.#truths.set(request.id, new Truth(request, tag));
    this.counts.requests += 1;
  }

  #abort(): void {
    const live = [...this.#truths.values()];
    const victim = live[this.#random.int(0, live.length - 1)];
    if (!victim) return;
    this.#scheduler.finish(victim.request);
    this.#truths.delete(victim.request.id);
    this.counts.aborted += 1;
  }

  #settle(count: number): void {
    for (const { output, rows } of this.#underWay.splice(0, count)) {
      for (const update of this.#scheduler.update(output, rows)) this.#deliver(update);
    }
  }

  #deliver({ request, finishReason }: RequestUpdate): void {
    if (!finishReason) return;
    const truth = this.#truths.get(request.id);
    const numOutputs = request.tokenIds.length - request.numPromptTokens;
    const isTrue = request.tokenIds.every((id, i) => id === truth?.tokens[i]);
    hold(isTrue, () => `${request.id} was answered with tokens that are not its own`);
    const stops = request.stopTokenIds.has(request.tokenIds.at(-1) ?? -1);
    const expected = stops ? 'stop' : numOutputs === request.maxTokens ? 'length' : 'none';
    hold(finishReason === expected, () => `${request.id} ended by ${finishReason} after ${numOutputs} tokens`);
    const numScored = request.promptLogprobs?.length ?? request.numPromptTokens;
    hold(numScored === request.numPromptTokens, () => `${request.id} has ${numScored} prompt logprobs`);
    this.counts.cachedTokens += request.numCachedTokens ?? 0;
    this.#truths.delete(request.id);
    this.#workload.remember(request.tokenIds);
  }

  #loseExecutor(): void {
    this.counts.losses += 1;
    const failed = this.#scheduler.executorLost(this.#underWay.map((step) => step.output));
    this.#underWay = [];
    this.#forget(failed);
    for (const truth of this.#truths.values()) truth.rollBack();
    [this.#capacity, this.#ranks] = this.#newExecutor();
  }

  #newExecutor(): [SimulatedCapacity, SimulatedRanks] {
    const capacity = randomCapacity(this.#random, this.#scenario);
    this.#forget(this.#scheduler.reset(capacity));
    const { config, vocab } = this.#scenario;
    return [capacity, new SimulatedRanks(capacity, config.maxNumSeqs, vocab)];
  }

  #forget(failed: readonly FailedRequest[]): void {
    for (const { request } of failed) this.#truths.delete(request.id);
    this.counts.failed += failed.length;
  }

  #plan(): void {
    const { maxStepsInFlight, numStages } = this.#capacity;
    while (this.#underWay.length < maxStepsInFlight) {
      const first = this.#first();
      const output = this.#scheduler.schedule(this.#underWay.length);
      if (!output) break;
      checkBudgets(output, this.#scenario.config);
      if (first) this.#progress.planned(output, first, 2 * (numStages + maxStepsInFlight));
      const rows = this.#ranks.execute(output, (id) => this.#truthOf(id));
      this.#underWay.push({ output, rows });
      this.counts.steps += 1;
    }
    const isStuck = this.#underWay.length === 0 && this.#truths.size > 0;
    hold(!isStuck, () => `nothing runs and ${this.#truths.size} requests are not done`);
  }

  /** The first in the policy's order; null while one suspected of killing executors goes before it. */
  #first(): { readonly id: string; readonly numPendingTokens: number } | null {
    const { running, waiting } = this.#scheduler;
    if ([...running, ...waiting].some((r) => r.numLosses > 1)) return null;
    const [a, b] = [running[0], waiting[0]];
    const first = a && b ? (requestOrders[this.#scenario.config.schedulingPolicy](a, b) < 0 ? a : b) : (a ?? b);
    return first ? { id: first.id, numPendingTokens: first.numPendingTokens } : null;
  }

  #truthOf(requestId: string): Truth {
    const truth = this.#truths.get(requestId);
    hold(truth !== undefined, () => `a step computes ${requestId}, which is done`);
    return truth;
  }
}

/** Runs one seed. @throws what the run violated, with the seed in its message. */
export function simulate(
  seed: number,
  schedulerClass: typeof SimulatedScheduler = SimulatedScheduler,
): SimulationCounts {
  const simulation = new Simulation(seed, schedulerClass);
  try {
    simulation.run();
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`seed ${seed}: ${what}`, { cause });
  }
  return simulation.counts;
}
