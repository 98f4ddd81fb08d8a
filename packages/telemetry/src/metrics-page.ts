import { type MetricDefinition, skeinMetrics, vllmMetrics } from './metric-names.ts';

/** docs/metrics.md, from the tables. */
export function metricsPage(): string {
  return [
    '# Metrics',
    '',
    "Generated from the table of metrics; a test holds it current. `GET /metrics` of a leader has all but the router's, that of a",
    'router the `skein_http_` and `skein_router_` ones, in the text format of Prometheus. Every series but those of groups, routes and',
    'experts is there from the start. Histograms add `_bucket`, `_sum` and `_count`.',
    '',
    'After the last request has ended: the sum of `vllm:request_success_total` is the `_count` of `vllm:e2e_request_latency_seconds`;',
    '`vllm:generation_tokens_total` is the `_sum` of `vllm:request_generation_tokens`; `vllm:prompt_tokens_total` is the sum of',
    '`vllm:prompt_tokens_by_source_total` and, less the prompts that ended before their first token, the `_sum` of',
    '`vllm:request_prompt_tokens`.',
    '',
    "## Under vLLM's names",
    '',
    ...table(Object.values(vllmMetrics)),
    '',
    "## skein's own",
    '',
    ...table(Object.values(skeinMetrics)),
    '',
  ].join('\n');
}

function table(definitions: readonly MetricDefinition[]): string[] {
  return [
    '| metric | type | labels | meaning |',
    '| --- | --- | --- | --- |',
    ...definitions.map(({ name, type, labels, help, buckets }) => {
      const shown =
        buckets === undefined
          ? ''
          : ` Buckets: ${buckets === 'tokens' ? '1, 2, 5, 10, … to the longest request' : buckets.join(', ')}.`;
      return `| \`${name}\` | ${type} | ${labels.join(', ')} | ${help}${shown} |`;
    }),
  ];
}
