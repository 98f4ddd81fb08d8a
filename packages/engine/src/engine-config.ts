import { EngineError } from './errors.ts';
import { requestOrders, type SchedulingPolicy } from './request-queue.ts';

export interface EngineConfig {
  /** Most requests that hold KV blocks at once; also the number of feedback slots. */
  readonly maxNumSeqs: number;
  /** Most tokens one step computes. At least maxNumSeqs, so that decodes cannot starve a prompt. */
  readonly maxNumBatchedTokens: number;
  /** Most logit rows of one step. At least maxNumSeqs, for the same reason. */
  readonly maxNumRows: number;
  /** Requests that may wait; one more is refused with ERR_OVERLOADED. */
  readonly maxWaiting: number;
  /** Pending requests fail with ERR_ENGINE_LOST after this long without an executor. */
  readonly maxLostMs: number;
  /** Reuse of KV blocks between requests with the same prefix. */
  readonly enablePrefixCaching: boolean;
  readonly schedulingPolicy: SchedulingPolicy;
}

/** Fills in defaults and checks ranges. @throws EngineError ERR_INVALID_REQUEST naming the field. */
export function engineConfig(given: Partial<EngineConfig> = {}): EngineConfig {
  const maxNumSeqs = given.maxNumSeqs ?? 128;
  const config: EngineConfig = {
    maxNumSeqs,
    maxNumBatchedTokens: given.maxNumBatchedTokens ?? Math.max(2048, maxNumSeqs),
    maxNumRows: given.maxNumRows ?? Math.max(256, maxNumSeqs),
    maxWaiting: given.maxWaiting ?? 1024,
    maxLostMs: given.maxLostMs ?? 60_000,
    enablePrefixCaching: given.enablePrefixCaching ?? true,
    schedulingPolicy: given.schedulingPolicy ?? 'fcfs',
  };
  atLeast('maxNumSeqs', config.maxNumSeqs, 1);
  atLeast('maxNumBatchedTokens', config.maxNumBatchedTokens, maxNumSeqs);
  atLeast('maxNumRows', config.maxNumRows, maxNumSeqs);
  atLeast('maxWaiting', config.maxWaiting, 1);
  atLeast('maxLostMs', config.maxLostMs, 0);
  if (!Object.hasOwn(requestOrders, config.schedulingPolicy)) {
    const policies = Object.keys(requestOrders).join(' or ');
    throw new EngineError(
      'ERR_INVALID_REQUEST',
      `schedulingPolicy is ${config.schedulingPolicy}; it must be ${policies}`,
    );
  }
  return config;
}

function atLeast(name: keyof EngineConfig, value: number, min: number): void {
  if (Number.isInteger(value) && value >= min) return;
  throw new EngineError('ERR_INVALID_REQUEST', `${name} is ${value}; it must be an integer of at least ${min}`);
}
