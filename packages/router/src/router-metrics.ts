import { type Metrics, skeinMetrics } from '@skein/telemetry';
import type { Endpoints } from './endpoints.ts';
import type { RefusalReason } from './upstream.ts';

/** How a relayed request can end. ok, client_error, overloaded and server_error are the leader's answers. */
export const relayOutcomes = [
  'ok',
  'client_error',
  'overloaded',
  'server_error',
  'lost',
  'timeout',
  'unreachable',
  'no_endpoint',
  'client_gone',
  'shutdown',
  'error',
] as const;
export type RelayOutcome = (typeof relayOutcomes)[number];

const retryReasons: readonly RefusalReason[] = ['connect', 'reset', 'unavailable'];

/** The router's own counters. Every `begin` is followed by one `end`. All series but those of groups are there from the
 *  start, so that a first event shows as an increase. */
export class RouterMetrics {
  readonly #metrics: Metrics;
  #inFlight = 0;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    for (const outcome of relayOutcomes) metrics.counter(skeinMetrics.routerRequests).inc({ outcome }, 0);
    for (const reason of retryReasons) metrics.counter(skeinMetrics.routerRetries).inc({ reason }, 0);
    metrics.counter(skeinMetrics.routerEjections).inc({ reason: 'connect' }, 0);
  }

  begin(): void {
    this.#inFlight += 1;
  }

  end(outcome: RelayOutcome): void {
    this.#inFlight -= 1;
    this.#metrics.counter(skeinMetrics.routerRequests).inc({ outcome });
  }

  pick(group: string): void {
    this.#metrics.counter(skeinMetrics.routerPicks).inc({ group });
  }

  retry(reason: RefusalReason): void {
    this.#metrics.counter(skeinMetrics.routerRetries).inc({ reason });
  }

  eject(reason: 'connect'): void {
    this.#metrics.counter(skeinMetrics.routerEjections).inc({ reason });
  }

  /** Sets the gauges; before each scrape. */
  scrape(endpoints: Endpoints): void {
    const { ready, notReady, ejected } = endpoints.counts;
    const gauge = this.#metrics.gauge(skeinMetrics.routerEndpoints);
    gauge.set({ state: 'ready' }, ready);
    gauge.set({ state: 'not_ready' }, notReady);
    gauge.set({ state: 'ejected' }, ejected);
    this.#metrics.gauge(skeinMetrics.routerRequestsInFlight).set(this.#inFlight);
  }
}
