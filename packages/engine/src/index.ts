export { type Clock, systemClock } from './clock.ts';
export { Engine } from './engine.ts';
export { type EngineConfig, engineConfig } from './engine-config.ts';
export type {
  EngineObserver,
  EngineProgress,
  EngineState,
  EngineStats,
  RequestOutcome,
  RequestRef,
  RequestStep,
  StepReport,
} from './engine-observer.ts';
export type { BlockHash } from './block-hash.ts';
export type { CacheOwner, KVCacheEvent } from './kv-cache-event.ts';
export type { SchedulingPolicy } from './request-queue.ts';
export { EngineError, type EngineErrorCode, ExecutorLostError } from './errors.ts';
export type { Executor } from './executor.ts';
export {
  type FinishReason,
  type GenerateEvent,
  type GenerateRequest,
  type GeneratedToken,
  greedySampling,
  type LogitRules,
  type SamplingParams,
  type TokenLogprob,
} from './generate.ts';
export { maxRequestTokens, type SchedulerCapacity } from './request-limits.ts';
export { type PreemptionCause, Scheduler } from './scheduler.ts';
