import type { EngineObserver, RequestRef } from '@skein/engine';
import type { Logger, VllmMetrics } from '@skein/telemetry';
import { CANARY_CLIENT } from './canary.ts';
import type { RequestSpans } from './request-spans.ts';

/** Clients' requests feed vLLM's metrics and the traces; the canary's stay out of them. */
export function observeEngine(to: {
  readonly metrics: VllmMetrics;
  readonly canaryRunning: () => boolean;
  readonly spans: RequestSpans | null;
  readonly logger: Logger;
}): Partial<EngineObserver> {
  const { metrics, canaryRunning, logger } = to;
  const spans = to.spans?.observer;
  const isClients = (ref: RequestRef): boolean => ref.client !== CANARY_CLIENT;
  return {
    onStep: (step) => {
      if (!canaryRunning() || step.numSeqs > 1) metrics.onStep(step);
    },
    // Only where there are traces: it is called for each request of each step.
    ...(spans ? { onRequestStep: spans.onRequestStep } : {}),
    onFirstToken: (event) => isClients(event) && metrics.onFirstToken(event),
    onTokens: (event) => isClients(event) && metrics.onTokens(event),
    onFinished: (outcome) => {
      if (!isClients(outcome)) return;
      metrics.onFinished(outcome);
      spans?.onFinished(outcome);
      const { requestId, reason, errorCode, numPromptTokens, numCachedTokens, numOutputTokens } = outcome;
      logger.debug({ requestId, reason, errorCode, numPromptTokens, numCachedTokens, numOutputTokens }, 'finished');
    },
    onPrefixCache: (event) => isClients(event) && metrics.onPrefixCache(event),
    onPreemption: (event) => {
      metrics.onPreemption();
      spans?.onPreemption(event);
      const { requestId, cause, beneficiaryId, numTokensLost, numPreemptions } = event;
      logger.debug({ requestId, cause, beneficiaryId, numTokensLost, numPreemptions }, 'preempted');
    },
  };
}
