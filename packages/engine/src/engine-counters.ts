import type { RequestOutcome } from './engine-observer.ts';
import type { PreemptionCause } from './scheduler.ts';

/** The engine's running totals. */
export class EngineCounters {
  numStepsFinished = 0;
  numPrefillTokensComputed = 0;
  numTokensGenerated = 0;
  numExecutorsLost = 0;
  numPrefixCacheQueries = 0;
  numPrefixCacheHits = 0;
  numTokensLostToPreemption = 0;
  readonly numPreemptions: Record<PreemptionCause, number> = { 'kv-cache': 0, 'executor-lost': 0 };
  readonly numFinished: Record<RequestOutcome['reason'], number> = {
    stop: 0,
    length: 0,
    repetition: 0,
    abort: 0,
    error: 0,
  };
}
