import type { EngineErrorCode } from './errors.ts';
import type { FinishReason } from './generate.ts';
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
  /** From arrival to the first step that computed some of it; null when none did. */
  readonly queueMs: number | null;
  readonly timeToFirstTokenMs: number | null;
  readonly totalMs: number;
}

/** Called by the engine as things happen, synchronously and inside its loop: be quick, never throw. */
export interface EngineObserver {
  onStep(report: StepReport): void;
  onFirstToken(event: RequestRef & { readonly timeToFirstTokenMs: number }): void;
  /** `sinceLastMs`: since the request's previous tokens; null for its first. */
  onTokens(event: RequestRef & { readonly numTokens: number; readonly sinceLastMs: number | null }): void;
  onFinished(outcome: RequestOutcome): void;
  onPreemption(event: RequestRef & { readonly cause: PreemptionCause; readonly numTokensToRecompute: number }): void;
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
  readonly numFreeBlocks: number;
  readonly numUsedBlocks: number;
  /** numUsedBlocks / numBlocks; 0 without an executor. */
  readonly kvCacheUsage: number;
  /** Recomputation after preemption included. */
  readonly numPrefillTokensComputed: number;
  readonly numTokensGenerated: number;
  readonly numPreemptions: Readonly<Record<PreemptionCause, number>>;
  readonly numFinished: Readonly<Record<RequestOutcome['reason'], number>>;
  readonly numExecutorsLost: number;
}

/** For readiness: the step counter, and when it last moved (the engine's clock). */
export interface EngineProgress {
  readonly stepsFinished: number;
  readonly atMs: number;
}
