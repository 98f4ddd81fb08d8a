import { expect, test } from 'vitest';
import { createLogger } from './logger.ts';
import { skeinMetrics, vllmMetrics } from './metric-names.ts';
import { metricsPage } from './metrics-page.ts';
import { Metrics, tokenBuckets } from './metrics.ts';
import { variables } from './variable-names.ts';
import { VllmMetrics } from './vllm-metrics.ts';

test('names are unique and well formed', () => {
  const all = [...Object.values(vllmMetrics), ...Object.values(skeinMetrics)];
  expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  for (const { name, type, buckets } of all) {
    expect(name).toMatch(/^(vllm:|skein_)[a-z0-9_]+$/);
    if (type === 'counter') expect(name).toMatch(/_total$/);
    expect(buckets !== undefined).toBe(type === 'histogram');
  }
  const names = Object.values(variables).map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

test("token buckets are vLLM's", () => {
  expect(tokenBuckets(100)).toEqual([1, 2, 5, 10, 20, 50, 100]);
  expect(tokenBuckets(40)).toEqual([1, 2, 5, 10, 20]);
});

test('a request leaves its marks, and two registries do not mix', async () => {
  const metrics = new Metrics({ maxModelLen: 128 });
  const vllm = new VllmMetrics(metrics, { modelName: 'm' });
  vllm.onStep({ numPrefillTokens: 5, numDecodeTokens: 0 });
  vllm.onFirstToken({ timeToFirstTokenMs: 30, numPromptTokens: 7, numCachedTokens: 2 });
  vllm.onTokens({ numTokens: 1, sinceLastMs: null });
  vllm.onTokens({ numTokens: 2, sinceLastMs: 40 });
  vllm.onFinished({
    reason: 'stop',
    numPromptTokens: 7,
    numOutputTokens: 3,
    numCachedTokens: 2,
    queueMs: 10,
    timeToFirstTokenMs: 30,
    totalMs: 70,
  });
  vllm.setLoad({ numRunning: 2, numWaiting: 1, kvCacheUsage: 0.25 });
  vllm.setCacheConfig({ blockSize: 16, numBlocks: 100, cacheDtype: 'bf16', enablePrefixCaching: true });
  const text = await metrics.text();
  expect(text).toContain('vllm:prompt_tokens_total{model_name="m",engine="0"} 7');
  expect(text).toContain('vllm:generation_tokens_total{model_name="m",engine="0"} 3');
  expect(text).toContain('vllm:request_success_total{model_name="m",engine="0",finished_reason="stop"} 1');
  expect(text).toContain('vllm:request_success_total{model_name="m",engine="0",finished_reason="abort"} 0');
  expect(text).toContain('vllm:inter_token_latency_seconds_count{model_name="m",engine="0"} 2');
  expect(text).toContain('vllm:request_time_per_output_token_seconds_sum{model_name="m",engine="0"} 0.02');
  expect(text).toContain('vllm:kv_cache_usage_perc{model_name="m",engine="0"} 0.25');
  expect(text).toContain(
    'vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="100",cache_dtype="bf16",enable_prefix_caching="True"} 1',
  );
  expect(text).toContain('vllm:prompt_tokens_by_source_total{model_name="m",engine="0",source="local_cache_hit"} 2');
  expect(text).toContain('vllm:prompt_tokens_by_source_total{model_name="m",engine="0",source="local_compute"} 5');
  expect(text).toContain('vllm:request_prefill_kv_computed_tokens_sum{model_name="m",engine="0"} 5');
  expect(await new Metrics().text()).not.toContain('vllm:');
});

test('lines carry the identity, hide secrets, and collapse when repeated', () => {
  const lines: string[] = [];
  const logger = createLogger({
    level: 'info',
    format: 'json',
    bindings: { rank: 3 },
    sink: { write: (line) => lines.push(line) },
  });
  for (let i = 0; i < 5; i++) logger.warn({ peer: 'x' }, 'lost');
  logger.child({ apiKey: 'secret' }).info('next');
  logger.debug('unseen');
  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(entries).toHaveLength(3);
  expect(entries[0]).toMatchObject({ rank: 3, peer: 'x', msg: 'lost' });
  expect(entries[1]).toMatchObject({ msg: 'lost', repeated: 4 });
  expect(entries[2]).toMatchObject({ msg: 'next', apiKey: '[Redacted]' });
});

test('text lines are short', () => {
  const lines: string[] = [];
  createLogger({ level: 'info', format: 'text', sink: { write: (line) => lines.push(line) } }).info(
    { port: 8000 },
    'listening',
  );
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}listening port=8000\n$/);
});

test('every metric of an engine is there before its first event', async () => {
  const metrics = new Metrics({ maxModelLen: 128 });
  const vllm = new VllmMetrics(metrics, { modelName: 'm' });
  vllm.setCacheConfig({ blockSize: 16, numBlocks: 1, cacheDtype: 'f32', enablePrefixCaching: false });
  const text = await metrics.text();
  for (const { name, type } of Object.values(vllmMetrics))
    expect(text).toContain(`\n${name}${type === 'histogram' ? '_count' : ''}{`);
});

test('docs/metrics.md is what the tables say (vitest -u writes it)', async () => {
  await expect(metricsPage()).toMatchFileSnapshot('../../../docs/metrics.md');
});
