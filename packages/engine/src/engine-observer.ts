import type { EngineErrorCode } from './errors.ts';
import type { FinishReason } from './generate.ts';
import type { KVCacheEvent } from './kv-cache-event.ts';
import type { PreemptionCause } from './scheduler.ts';

/** A step that has finished. Times are in milliseconds. */
export interface StepReport {
  readonly step: number;
  readonly numSeqs: number;
  readonly numRows: number;
  readonly numDecodeTokens: number;
  readonly numPrefillTokens: number;
  /** From plan to result, queueing in the pipeline included. */
  readonly durationMs: number;
}

/** A request's part in a finished step. */
export interface RequestStep {
  readonly requestId: string;
  readonly step: number;
  /** Of the engine's clock: planned, and finished. */
  readonly startMs: number;
  readonly endMs: number;
  /** Of this request. */
  readonly numTokens: number;
  /** Of the step. */
  readonly numSeqs: number;
}

export interface RequestRef {
  readonly requestId: string;
  readonly client: string;
}

export interface RequestOutcome extends RequestRef {
  /** Exactly one per request that was accepted. */
  readonly reason: FinishReason | 'abort' | 'error';
  readonly errorCode: EngineErrorCode | null;
  readonly numPromptTokens: number;
  readonly numOutputTokens: number;
  readonly numPreemptions: number;
  /** Prompt tokens that came out of the prefix cache. */
  readonly numCachedTokens: number;
  /** From arrival to the first step that computed some of it; null when none did. */
  readonly queueMs: number | null;
  readonly timeToFirstTokenMs: number | null;
  readonly totalMs: number;
}

/** Called by the engine as things happen, synchronously and inside its loop: be quick, never throw. */
export interface EngineObserver {
  onStep(report: StepReport): void;
  /** For each request of each finished step: for traces. */
  onRequestStep(step: RequestStep): void;
  /** `numCachedTokens`: of the prompt, out of the prefix cache. */
  onFirstToken(
    event: RequestRef & {
      readonly timeToFirstTokenMs: number;
      readonly numPromptTokens: number;
      readonly numCachedTokens: number;
    },
  ): void;
  /** `sinceLastMs`: since the request's previous tokens; null for its first. */
  onTokens(event: RequestRef & { readonly numTokens: number; readonly sinceLastMs: number | null }): void;
  onFinished(outcome: RequestOutcome): void;
  /** Once per request, when its first tokens are planned: prompt tokens looked up in the prefix cache, and found there. */
  onPrefixCache(event: RequestRef & { readonly numQueries: number; readonly numHits: number }): void;
  /** `beneficiaryId`: whose need of blocks it was, null when the executor was lost. `numTokensLost`: computed tokens that have
   *  to be computed again, at most. `numPreemptions`: of this request, this one included. */
  onPreemption(
    event: RequestRef & {
      readonly cause: PreemptionCause;
      readonly beneficiaryId: string | null;
      readonly numTokensLost: number;
      readonly numPreemptions: number;
    },
  ): void;
  /** What changed in the prefix cache since the last call, in order. */
  onKVCacheEvents(events: readonly KVCacheEvent[]): void;
  /** The engine waits for `attach` from here on. */
  onExecutorLost(error: Error): void;
}

export type EngineState = 'waiting-for-executor' | 'serving' | 'draining' | 'closed';

/** A snapshot. Totals count from the engine's start. */
export interface EngineStats {
  readonly state: EngineState;
  readonly numRunning: number;
  readonly numWaiting: number;
  readonly numStepsInFlight: number;
  readonly numStepsFinished: number;
  readonly numBlocks: number;
  /** free + cached + used = all: without contents, kept for the prefix cache alone, held by running requests. */
  readonly numFreeBlocks: number;
  readonly numCachedBlocks: number;
  readonly numUsedBlocks: number;
  /** numUsedBlocks / numBlocks; 0 without an executor. */
  readonly kvCacheUsage: number;
  /** Recomputation after preemption included. */
  readonly numPrefillTokensComputed: number;
  readonly numTokensGenerated: number;
  /** In tokens: prompts looked up in the prefix cache, and what was found. Not counted again after preemption. */
  readonly numPrefixCacheQueries: number;
  readonly numPrefixCacheHits: number;
  /** Computed tokens thrown away by preemption; those that are still cached when needed again count too. */
  readonly numTokensLostToPreemption: number;
  readonly numPreemptions: Readonly<Record<PreemptionCause, number>>;
  readonly numFinished: Readonly<Record<RequestOutcome['reason'], number>>;
  readonly numExecutorsLost: number;
}

/** For readiness: the step counter, and when it last moved (the engine's clock). */
export interface EngineProgress {
  readonly stepsFinished: number;
  readonly atMs: number;
}
