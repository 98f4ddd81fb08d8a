import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { MetricDefinition } from './metric-names.ts';

export interface MetricsOptions {
  /** Upper end of the 'tokens' histograms. */
  readonly maxModelLen?: number;
}

/** A registry of its own: two servers in one process never share series. A metric exists from its first use. */
export class Metrics {
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #maxModelLen: number;

  constructor(options: MetricsOptions = {}) {
    this.contentType = this.#registry.contentType;
    this.#maxModelLen = options.maxModelLen ?? 131_072;
  }

  counter(definition: MetricDefinition): Counter {
    return this.#get(definition, () => new Counter(this.#configuration(definition)));
  }

  gauge(definition: MetricDefinition): Gauge {
    return this.#get(definition, () => new Gauge(this.#configuration(definition)));
  }

  histogram(definition: MetricDefinition): Histogram {
    const buckets = definition.buckets === 'tokens' ? tokenBuckets(this.#maxModelLen) : [...(definition.buckets ?? [])];
    return this.#get(definition, () => new Histogram({ ...this.#configuration(definition), buckets }));
  }

  /** The Prometheus text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #configuration(definition: MetricDefinition): {
    name: string;
    help: string;
    labelNames: string[];
    registers: Registry[];
  } {
    return {
      name: definition.name,
      help: definition.help,
      labelNames: [...definition.labels],
      registers: [this.#registry],
    };
  }

  #get<M extends Counter | Gauge | Histogram>(definition: MetricDefinition, create: () => M): M {
    const existing = this.#registry.getSingleMetric(definition.name);
    // The name decides the type: the table holds each name once.
    return existing === undefined ? create() : (existing as unknown as M);
  }
}

/** 1, 2, 5, 10, … up to `max`, as vLLM has them. */
export function tokenBuckets(max: number): number[] {
  const buckets: number[] = [];
  for (let power = 1; ; power *= 10) {
    for (const mantissa of [1, 2, 5]) {
      if (mantissa * power > max) return buckets;
      buckets.push(mantissa * power);
    }
  }
}
