import type { Counter, Gauge, Histogram } from 'prom-client';
import { type MetricDefinition, vllmMetrics } from './metric-names.ts';
import type { Metrics } from './metrics.ts';

export interface RequestEnd {
  /** stop, length, abort or error. */
  readonly reason: string;
  readonly numPromptTokens: number;
  readonly numOutputTokens: number;
  /** Prompt tokens that came out of a cache. */
  readonly numCachedTokens: number;
  /** Arrival to first step; null when none ran. */
  readonly queueMs: number | null;
  readonly timeToFirstTokenMs: number | null;
  readonly totalMs: number;
}

/** vLLM's engine metrics. The shape of the methods is that of an engine's observer, so that the leader can pass its events
 *  straight on; each call is a few additions and safe inside a step loop. */
export class VllmMetrics {
  readonly #metrics: Metrics;
  readonly #labels: { readonly model_name: string; readonly engine: string };
  #cacheConfig: Record<string, string> | null = null;
  readonly #running: Gauge.Internal<string>;
  readonly #waiting: Gauge.Internal<string>;
  readonly #kvCacheUsage: Gauge.Internal<string>;
  readonly #prefixCacheQueries: Counter.Internal;
  readonly #prefixCacheHits: Counter.Internal;
  readonly #preemptions: Counter.Internal;
  readonly #promptTokens: Counter.Internal;
  readonly #promptTokensCached: Counter.Internal;
  readonly #generationTokens: Counter.Internal;
  readonly #iterationTokens: Histogram.Internal<string>;
  readonly #firstToken: Histogram.Internal<string>;
  readonly #interToken: Histogram.Internal<string>;

  constructor(metrics: Metrics, labels: { readonly modelName: string; readonly engine?: string }) {
    this.#metrics = metrics;
    this.#labels = { model_name: labels.modelName, engine: labels.engine ?? '0' };
    this.#running = metrics.gauge(vllmMetrics.numRequestsRunning).labels(this.#labels);
    this.#waiting = metrics.gauge(vllmMetrics.numRequestsWaiting).labels(this.#labels);
    this.#kvCacheUsage = metrics.gauge(vllmMetrics.kvCacheUsage).labels(this.#labels);
    this.#prefixCacheQueries = this.#counter(vllmMetrics.prefixCacheQueries);
    this.#prefixCacheHits = this.#counter(vllmMetrics.prefixCacheHits);
    this.#preemptions = this.#counter(vllmMetrics.numPreemptions);
    this.#promptTokens = this.#counter(vllmMetrics.promptTokens);
    this.#generationTokens = this.#counter(vllmMetrics.generationTokens);
    this.#iterationTokens = this.#histogram(vllmMetrics.iterationTokens);
    this.#firstToken = this.#histogram(vllmMetrics.timeToFirstToken);
    this.#interToken = this.#histogram(vllmMetrics.interTokenLatency);
    this.#promptTokensCached = this.#counter(vllmMetrics.promptTokensCached);
    for (const reason of ['stop', 'length', 'repetition', 'abort', 'error'])
      metrics.counter(vllmMetrics.requestSuccess).inc({ ...this.#labels, finished_reason: reason }, 0);
    for (const source of ['local_compute', 'local_cache_hit', 'external_kv_transfer']) this.#countPrompt(source, 0);
    this.#waitingFor('deferred').set(0);
    // Every series is there before its first event, so that the event shows as an increase.
    for (const definition of Object.values(vllmMetrics)) {
      if (definition.type === 'histogram') metrics.histogram(definition).zero(this.#labels);
    }
    this.setLoad({ numRunning: 0, numWaiting: 0, kvCacheUsage: 0 });
  }

  /** The engine's load as it is; kvCacheUsage is 0 to 1. */
  setLoad(load: { readonly numRunning: number; readonly numWaiting: number; readonly kvCacheUsage: number }): void {
    this.#running.set(load.numRunning);
    this.#waiting.set(load.numWaiting);
    this.#waitingFor('capacity').set(load.numWaiting);
    this.#kvCacheUsage.set(load.kvCacheUsage);
  }

  setCacheConfig(config: {
    readonly blockSize: number;
    readonly numBlocks: number;
    readonly cacheDtype: string;
    readonly enablePrefixCaching: boolean;
  }): void {
    const info = this.#metrics.gauge(vllmMetrics.cacheConfigInfo);
    const labels = {
      engine: this.#labels.engine,
      block_size: String(config.blockSize),
      num_gpu_blocks: String(config.numBlocks),
      cache_dtype: config.cacheDtype,
      enable_prefix_caching: config.enablePrefixCaching ? 'True' : 'False',
    };
    // The labels are what it tells: those of before must go.
    if (this.#cacheConfig !== null) info.remove(this.#cacheConfig);
    info.set(labels, 1);
    this.#cacheConfig = labels;
  }

  /** A finished engine step. */
  onStep(step: { readonly numPrefillTokens: number; readonly numDecodeTokens: number }): void {
    this.#iterationTokens.observe(step.numPrefillTokens + step.numDecodeTokens);
  }

  /** Once per request, when its prompt is computed. Recomputing it after a preemption counts no more. */
  onFirstToken(event: {
    readonly timeToFirstTokenMs: number;
    readonly numPromptTokens: number;
    readonly numCachedTokens: number;
  }): void {
    const { numPromptTokens, numCachedTokens } = event;
    this.#firstToken.observe(event.timeToFirstTokenMs / 1000);
    this.#promptTokens.inc(numPromptTokens);
    this.#promptTokensCached.inc(numCachedTokens);
    this.#countPrompt('local_compute', numPromptTokens - numCachedTokens);
    this.#countPrompt('local_cache_hit', numCachedTokens);
  }

  /** New tokens of one request; `sinceLastMs` is null for its first. */
  onTokens(event: { readonly numTokens: number; readonly sinceLastMs: number | null }): void {
    this.#generationTokens.inc(event.numTokens);
    if (event.sinceLastMs === null || event.numTokens === 0) return;
    for (let i = 0; i < event.numTokens; i++) this.#interToken.observe(event.sinceLastMs / 1000 / event.numTokens);
  }

  /** Once per request: prompt tokens looked up in the prefix cache, and found there. */
  onPrefixCache(event: { readonly numQueries: number; readonly numHits: number }): void {
    this.#prefixCacheQueries.inc(event.numQueries);
    this.#prefixCacheHits.inc(event.numHits);
  }

  onPreemption(): void {
    this.#preemptions.inc();
  }

  /** Once per request that was accepted, however it ended. */
  onFinished(end: RequestEnd): void {
    this.#metrics.counter(vllmMetrics.requestSuccess).inc({ ...this.#labels, finished_reason: end.reason });
    this.#observe(vllmMetrics.requestPromptTokens, end.numPromptTokens);
    this.#observe(vllmMetrics.requestGenerationTokens, end.numOutputTokens);
    this.#observe(vllmMetrics.e2eRequestLatency, end.totalMs / 1000);
    if (end.queueMs === null) return;
    this.#observe(vllmMetrics.requestQueueTime, end.queueMs / 1000);
    this.#observe(vllmMetrics.requestInferenceTime, (end.totalMs - end.queueMs) / 1000);
    if (end.timeToFirstTokenMs === null) return;
    this.#observe(vllmMetrics.requestPrefillKVComputedTokens, end.numPromptTokens - end.numCachedTokens);
    const decodeSeconds = (end.totalMs - end.timeToFirstTokenMs) / 1000;
    this.#observe(vllmMetrics.requestPrefillTime, (end.timeToFirstTokenMs - end.queueMs) / 1000);
    this.#observe(vllmMetrics.requestDecodeTime, decodeSeconds);
    if (end.numOutputTokens > 1)
      this.#observe(vllmMetrics.requestTimePerOutputToken, decodeSeconds / (end.numOutputTokens - 1));
  }

  /** What a client asked for; the HTTP server calls this once per request. */
  onRequestParams(params: { readonly n: number; readonly maxTokens: number }): void {
    this.#observe(vllmMetrics.requestParamsN, params.n);
    this.#observe(vllmMetrics.requestParamsMaxTokens, params.maxTokens);
  }

  /** Once per request, with the tokens of its longest choice; however it ended. */
  onAnswered(numTokens: number): void {
    this.#observe(vllmMetrics.requestMaxNumGenerationTokens, numTokens);
  }

  #countPrompt(source: string, numTokens: number): void {
    this.#metrics.counter(vllmMetrics.promptTokensBySource).inc({ ...this.#labels, source }, numTokens);
  }

  #waitingFor(reason: string): Gauge.Internal<string> {
    return this.#metrics.gauge(vllmMetrics.numRequestsWaitingByReason).labels({ ...this.#labels, reason });
  }

  #observe(definition: MetricDefinition, value: number): void {
    this.#metrics.histogram(definition).observe(this.#labels, value);
  }

  #counter(definition: MetricDefinition): Counter.Internal {
    const child = this.#metrics.counter(definition).labels(this.#labels);
    child.inc(0);
    return child;
  }

  #histogram(definition: MetricDefinition): Histogram.Internal<string> {
    return this.#metrics.histogram(definition).labels(this.#labels);
  }
}
