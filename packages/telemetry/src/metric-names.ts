/** Every metric skein exports, in one place. Names under `vllm:` and their buckets are vLLM's, so that its dashboards and
 *  gateways read skein unchanged. Counter names carry the `_total` that Prometheus clients in other languages add. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Label values must come from a bounded set; never from a request. */
  readonly labels: readonly string[];
  /** Histograms only. 'tokens': 1, 2, 5, 10, … up to the model's length. */
  readonly buckets?: readonly number[] | 'tokens';
}

const engineLabels = ['model_name', 'engine'] as const;

const firstTokenBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
] as const;
const perTokenBuckets = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
] as const;
const requestBuckets = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
] as const;
const iterationBuckets = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384] as const;

function gauge(name: string, help: string, labels: readonly string[] = engineLabels): MetricDefinition {
  return { name, type: 'gauge', help, labels };
}

function counter(name: string, help: string, labels: readonly string[] = engineLabels): MetricDefinition {
  return { name, type: 'counter', help, labels };
}

function histogram(name: string, help: string, buckets: readonly number[] | 'tokens'): MetricDefinition {
  return { name, type: 'histogram', help, labels: engineLabels, buckets };
}

export type MetricTable<Key extends string> = Readonly<Record<Key, MetricDefinition>>;

export type VllmMetricKey =
  | 'numRequestsRunning'
  | 'numRequestsWaiting'
  | 'numRequestsWaitingByReason'
  | 'kvCacheUsage'
  | 'cacheConfigInfo'
  | 'prefixCacheQueries'
  | 'prefixCacheHits'
  | 'numPreemptions'
  | 'promptTokens'
  | 'promptTokensBySource'
  | 'promptTokensCached'
  | 'generationTokens'
  | 'requestSuccess'
  | 'requestPromptTokens'
  | 'requestGenerationTokens'
  | 'requestMaxNumGenerationTokens'
  | 'requestPrefillKVComputedTokens'
  | 'iterationTokens'
  | 'requestParamsN'
  | 'requestParamsMaxTokens'
  | 'timeToFirstToken'
  | 'interTokenLatency'
  | 'requestTimePerOutputToken'
  | 'e2eRequestLatency'
  | 'requestQueueTime'
  | 'requestInferenceTime'
  | 'requestPrefillTime'
  | 'requestDecodeTime';

export const vllmMetrics: MetricTable<VllmMetricKey> = {
  numRequestsRunning: gauge('vllm:num_requests_running', 'Requests in the running batch.'),
  numRequestsWaiting: gauge('vllm:num_requests_waiting', 'Requests waiting to be scheduled.'),
  numRequestsWaitingByReason: gauge(
    'vllm:num_requests_waiting_by_reason',
    'Requests waiting, by reason: capacity (of blocks or of the batch) or deferred.',
    [...engineLabels, 'reason'],
  ),
  kvCacheUsage: gauge('vllm:kv_cache_usage_perc', 'KV cache usage, 0 to 1.'),
  cacheConfigInfo: gauge('vllm:cache_config_info', 'The KV cache configuration, as labels of a gauge that is 1.', [
    'engine',
    'block_size',
    'num_gpu_blocks',
    'cache_dtype',
    'enable_prefix_caching',
  ]),
  prefixCacheQueries: counter('vllm:prefix_cache_queries_total', 'Prompt tokens looked up in the prefix cache.'),
  prefixCacheHits: counter('vllm:prefix_cache_hits_total', 'Prompt tokens found in the prefix cache.'),
  numPreemptions: counter('vllm:num_preemptions_total', 'Preemptions since the engine started.'),
  promptTokens: counter(
    'vllm:prompt_tokens_total',
    'Prompt tokens of requests that got their first token, however they were had.',
  ),
  promptTokensBySource: counter(
    'vllm:prompt_tokens_by_source_total',
    'The same by source: local_compute, local_cache_hit or external_kv_transfer.',
    [...engineLabels, 'source'],
  ),
  promptTokensCached: counter('vllm:prompt_tokens_cached_total', 'The same, as far as they came out of a cache.'),
  generationTokens: counter('vllm:generation_tokens_total', 'Tokens generated.'),
  requestSuccess: counter('vllm:request_success_total', 'Requests that ended, by how: stop, length, abort or error.', [
    ...engineLabels,
    'finished_reason',
  ]),
  requestPromptTokens: histogram('vllm:request_prompt_tokens', 'Prompt tokens of a request.', 'tokens'),
  requestGenerationTokens: histogram('vllm:request_generation_tokens', 'Tokens generated for a request.', 'tokens'),
  requestMaxNumGenerationTokens: histogram(
    'vllm:request_max_num_generation_tokens',
    'Tokens of the longest choice of a request.',
    'tokens',
  ),
  requestPrefillKVComputedTokens: histogram(
    'vllm:request_prefill_kv_computed_tokens',
    'Prompt tokens of a request that were computed, those out of a cache left out.',
    'tokens',
  ),
  iterationTokens: histogram('vllm:iteration_tokens_total', 'Tokens computed in one engine step.', iterationBuckets),
  requestParamsN: histogram('vllm:request_params_n', 'The n parameter of a request.', [1, 2, 5, 10, 20]),
  requestParamsMaxTokens: histogram(
    'vllm:request_params_max_tokens',
    'The max_tokens parameter of a request.',
    'tokens',
  ),
  timeToFirstToken: histogram('vllm:time_to_first_token_seconds', 'Arrival to first token.', firstTokenBuckets),
  interTokenLatency: histogram(
    'vllm:inter_token_latency_seconds',
    'Time between tokens of a request.',
    perTokenBuckets,
  ),
  requestTimePerOutputToken: histogram(
    'vllm:request_time_per_output_token_seconds',
    'Mean time per token after the first, of a request.',
    perTokenBuckets,
  ),
  e2eRequestLatency: histogram('vllm:e2e_request_latency_seconds', 'Arrival to last token.', requestBuckets),
  requestQueueTime: histogram('vllm:request_queue_time_seconds', 'Arrival to first step.', requestBuckets),
  requestInferenceTime: histogram('vllm:request_inference_time_seconds', 'First step to last token.', requestBuckets),
  requestPrefillTime: histogram('vllm:request_prefill_time_seconds', 'First step to first token.', requestBuckets),
  requestDecodeTime: histogram('vllm:request_decode_time_seconds', 'First token to last token.', requestBuckets),
};

export type SkeinMetricKey =
  | 'httpRequests'
  | 'httpRequestsInFlight'
  | 'routerRequests'
  | 'routerRequestsInFlight'
  | 'routerRetries'
  | 'routerPicks'
  | 'routerEjections'
  | 'routerEndpoints'
  | 'transportBytes'
  | 'transportMessages'
  | 'groupEpoch'
  | 'kvBlocks'
  | 'expertTokens'
  | 'expertHottestRatio';

export const skeinMetrics: MetricTable<SkeinMetricKey> = {
  httpRequests: counter(
    'skein_http_requests_total',
    'HTTP requests answered, by route and status (499: the client left).',
    ['route', 'status'],
  ),
  httpRequestsInFlight: gauge('skein_http_requests_in_flight', 'HTTP requests being answered, but for probes.', []),
  routerRequests: counter(
    'skein_router_requests_total',
    'Requests relayed, by how they ended; exactly one outcome each.',
    ['outcome'],
  ),
  routerRequestsInFlight: gauge('skein_router_requests_in_flight', 'Requests being relayed.', []),
  routerRetries: counter('skein_router_retries_total', 'Attempts given up before the first byte, by reason.', [
    'reason',
  ]),
  routerPicks: counter('skein_router_picks_total', 'Endpoint picks, by group.', ['group']),
  routerEjections: counter('skein_router_ejections_total', 'Endpoints taken out of service until their next advert.', [
    'reason',
  ]),
  routerEndpoints: gauge('skein_router_endpoints', 'Known endpoints, by state: ready, not_ready, ejected.', ['state']),
  transportBytes: counter('skein_transport_bytes_total', 'Bytes moved between ranks, by transport.', ['transport']),
  transportMessages: counter('skein_transport_messages_total', 'Messages moved between ranks, by transport.', [
    'transport',
  ]),
  kvBlocks: gauge('skein_kv_blocks', 'KV blocks of a rank, by state: free, cached or used; together all there are.', [
    'state',
  ]),
  groupEpoch: gauge('skein_group_epoch', 'How often the group has been formed.', []),
  // A series for each expert would be tens of thousands for some models: those counts are in GET /v1/skein/experts.
  expertTokens: counter(
    'skein_expert_tokens_total',
    "Pairs of a token and one of its experts that a rank computed, by the rank's number.",
    ['rank'],
  ),
  expertHottestRatio: gauge(
    'skein_expert_hottest_ratio',
    "Tokens of a layer's hottest expert over those of its mean one, since the leader started.",
    ['layer'],
  ),
};
