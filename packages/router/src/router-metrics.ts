import { type Metrics, skeinMetrics } from '@skein/telemetry';
import type { Endpoints } from './endpoints.ts';

/** The router's own counters. Every `begin` is followed by one `end`. */
export class RouterMetrics {
  readonly #metrics: Metrics;
  #inFlight = 0;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  begin(): void {
    this.#inFlight += 1;
  }

  end(outcome: string): void {
    this.#inFlight -= 1;
    this.#metrics.counter(skeinMetrics.routerRequests).inc({ outcome });
  }

  pick(group: string): void {
    this.#metrics.counter(skeinMetrics.routerPicks).inc({ group });
  }

  retry(reason: string): void {
    this.#metrics.counter(skeinMetrics.routerRetries).inc({ reason });
  }

  eject(reason: string): void {
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
