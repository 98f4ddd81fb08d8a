import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { client, type Served, topology, up } from '../support/cluster.ts';
import { sendTo } from '../support/send.ts';

const PARIS = [{ role: 'user' as const, content: 'What is the capital of France?' }];
const model = 'tiny-chat';

let cluster: Served;
beforeAll(async () => {
  cluster = await up(['--pp', '2']);
}, 90_000);
afterAll(() => cluster[Symbol.asyncDispose]());

async function count(options: Partial<OpenAI.Chat.ChatCompletionCreateParamsNonStreaming> = {}): Promise<void> {
  const messages = [{ role: 'user' as const, content: 'Count from 1 to 20.' }];
  await client(cluster.url).chat.completions.create({ model, messages, temperature: 0, ...options });
}

test('with --api-key, router and leader answer nothing under /v1 without it, and the probes to everybody', async () => {
  await using guarded = await up(['--pp', '1', '--api-key', 'first,second']);
  const keyed = new OpenAI({ baseURL: `${guarded.url}/v1`, apiKey: 'second', maxRetries: 0 });
  const answer = await keyed.chat.completions.create({ model, messages: PARIS });
  expect(answer.choices[0]?.message.content).toBe('The capital of France is Paris.');
  const authorization = 'Bearer first';
  const shown = await sendTo(guarded.url, '/v1/skein/topology', null, { headers: { authorization } });
  const leader = (JSON.parse(shown.text) as { groups: { url: string }[] }).groups[0]?.url ?? '';
  const body = JSON.stringify({ model, messages: PARIS });
  for (const url of [guarded.url, leader]) {
    for (const headers of [
      {},
      { authorization: 'Bearer third' },
      { authorization: 'first' },
      { authorization: 'Bearer first,second' },
    ]) {
      expect((await sendTo(url, '/v1/chat/completions', body, { headers })).status).toBe(401);
      expect((await sendTo(url, '/v1/models', null, { headers })).status).toBe(401);
      expect((await sendTo(url, '/v1/skein/topology', null, { headers })).status).toBe(401);
    }
    for (const path of ['/livez', '/readyz', '/health', '/version', '/metrics'])
      expect((await sendTo(url, path, null)).status).toBe(200);
    expect((await sendTo(url, '/v1/models', null, { headers: { authorization } })).status).toBe(200);
  }
}, 60_000);

test('the metrics of leader and router have the names that dashboards look for', async () => {
  const leader = (await topology(cluster.url)).groups[0]?.url ?? '';
  await count();
  const names = async (url: string): Promise<string[]> =>
    [...(await sendTo(url, '/metrics', null)).text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name);
  const histograms = [
    'request_prompt_tokens',
    'request_generation_tokens',
    'iteration_tokens_total',
    'request_params_n',
    'request_params_max_tokens',
    'time_to_first_token_seconds',
    'inter_token_latency_seconds',
    'request_time_per_output_token_seconds',
    'e2e_request_latency_seconds',
    'request_queue_time_seconds',
    'request_inference_time_seconds',
    'request_prefill_time_seconds',
    'request_decode_time_seconds',
  ];
  const gauges = ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc', 'cache_config_info'];
  const counters = ['num_preemptions_total', 'prompt_tokens_total', 'generation_tokens_total', 'request_success_total'];
  expect(await names(leader)).toEqual(
    expect.arrayContaining([...histograms, ...gauges, ...counters].map((name) => `vllm:${name}`)),
  );
  expect(await names(cluster.url)).toEqual(
    expect.arrayContaining([
      'skein_router_requests_total',
      'skein_router_requests_in_flight',
      'skein_router_endpoints',
    ]),
  );
});

test('a request that a stop string ends counts as stopped, not as aborted', async () => {
  const leader = (await topology(cluster.url)).groups[0]?.url ?? '';
  const ended = async (reason: string): Promise<number> => {
    const { text } = await sendTo(leader, '/metrics', null);
    const line = new RegExp(`^vllm:request_success_total\\{.*"${reason}"\\} (\\d+)`, 'm').exec(text);
    return Number(line?.[1]);
  };
  const before = [await ended('stop'), await ended('abort')];
  await count({ stop: ' 5' });
  expect([await ended('stop'), await ended('abort')]).toEqual([(before[0] ?? 0) + 1, before[1]]);
});
