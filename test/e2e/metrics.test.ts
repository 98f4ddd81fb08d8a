import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort, type Launched, type Served, skein, TINY_CHAT, until, untilReady, up } from '../support/cluster.ts';

/** Samples of a scrape, by `name{labels}`. */
class Scrape {
  readonly #samples: ReadonlyMap<string, number>;

  constructor(text: string) {
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    this.#samples = new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
    );
  }

  /** Over all series of `name` whose labels hold `label`. */
  sum(name: string, label = ''): number {
    const found = [...this.#samples].filter(
      ([series]) => series.replace(/\{.*/, '') === name && series.includes(label),
    );
    if (found.length === 0) throw new Error(`no series of ${name} with ${label}`);
    return found.reduce((sum, [, value]) => sum + value, 0);
  }
}

const scrape = async (url: string): Promise<Scrape> => new Scrape(await (await fetch(`${url}/metrics`)).text());

let cluster: Served;
let leaderUrl: string;
beforeAll(async () => {
  // Few blocks and places: requests wait, and are preempted.
  cluster = await up(['--num-gpu-blocks-override', '8', '--max-num-seqs', '6', '--log-level', 'debug']);
  const { groups } = (await (await fetch(`${cluster.url}/v1/skein/topology`)).json()) as { groups: { url: string }[] };
  leaderUrl = groups[0]?.url ?? '';
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

interface Ended {
  readonly status: number | 'aborted';
  readonly chars: number;
}

/** Asks for a stream and leaves it after so many characters; null reads it to its end. */
async function stream(leaveAfter: number | null, body: object): Promise<Ended> {
  const leaving = new AbortController();
  let chars = 0;
  try {
    if (leaveAfter === 0) setTimeout(() => leaving.abort(), 200);
    const response = await fetch(`${cluster.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ stream: true, ...body }),
      signal: leaving.signal,
    });
    for await (const chunk of response.body ?? []) {
      chars += (chunk as Uint8Array).length;
      if (leaveAfter !== null && chars >= leaveAfter) leaving.abort();
    }
    return { status: response.status, chars };
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
    return { status: 'aborted', chars };
  }
}

test('after a storm of aborts each request has one outcome, and all counters agree', async () => {
  const before = await scrape(leaderUrl);
  const scraping = { stop: false, count: 0 };
  const scraper = (async () => {
    while (!scraping.stop) {
      await scrape(leaderUrl);
      scraping.count += 1;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  const leaves = [null, 0, 200, 1, null, 1500, 0, 700];
  const ended = await Promise.all(
    Array.from({ length: 160 }, (_, i) =>
      stream(leaves[i % leaves.length] ?? null, {
        prompt: `The capital of country ${i % 7} is`.repeat(1 + (i % 2)),
        max_tokens: 16 + (i % 64),
        ignore_eos: i % 3 !== 0,
        temperature: 0.8,
        ...(i % 11 === 5 ? { n: 2 } : {}),
        ...(i % 13 === 7 ? { stop: ['a'] } : {}),
        ...(i % 17 === 3 ? { temperature: -1 } : {}),
      }),
    ),
  );
  scraping.stop = true;
  await scraper;
  let after = before;
  await until('the engine to be idle', 20_000, async () => {
    after = await scrape(leaderUrl);
    return after.sum('vllm:num_requests_running') + after.sum('vllm:num_requests_waiting') === 0;
  });
  const grown = (name: string, label = ''): number => after.sum(name, label) - before.sum(name, label);

  const outcomes = ['stop', 'length', 'abort', 'error'].map((reason) => grown('vllm:request_success_total', reason));
  const total = outcomes.reduce((sum, n) => sum + n, 0);
  expect(outcomes[2]).toBeGreaterThan(0);
  expect(outcomes[3]).toBe(0);
  expect(total).toBeGreaterThan(100);
  for (const histogram of ['request_prompt_tokens', 'request_generation_tokens', 'e2e_request_latency_seconds'])
    expect(grown(`vllm:${histogram}_count`), histogram).toBe(total);
  expect(grown('vllm:generation_tokens_total')).toBe(grown('vllm:request_generation_tokens_sum'));
  expect(grown('vllm:time_to_first_token_seconds_count')).toBe(grown('vllm:request_prefill_time_seconds_count'));
  expect(grown('vllm:inter_token_latency_seconds_count')).toBe(
    grown('vllm:generation_tokens_total') - grown('vllm:time_to_first_token_seconds_count'),
  );
  const promptTokens = grown('vllm:prompt_tokens_total');
  expect(grown('vllm:prompt_tokens_by_source_total')).toBe(promptTokens);
  expect(grown('vllm:prompt_tokens_by_source_total', 'local_cache_hit')).toBe(grown('vllm:prompt_tokens_cached_total'));
  expect(grown('vllm:request_prefill_kv_computed_tokens_sum')).toBe(
    promptTokens - grown('vllm:prompt_tokens_cached_total'),
  );
  expect(promptTokens).toBeLessThanOrEqual(grown('vllm:request_prompt_tokens_sum'));
  expect(grown('vllm:request_params_n_count')).toBe(grown('vllm:request_max_num_generation_tokens_count'));
  expect(after.sum('vllm:num_preemptions_total')).toBeGreaterThan(0);
  expect(after.sum('skein_kv_blocks')).toBe(8);
  expect(after.sum('skein_kv_blocks', 'used')).toBe(0);
  expect(after.sum('vllm:kv_cache_usage_perc')).toBe(0);
  expect(after.sum('skein_transport_bytes_total')).toBeGreaterThan(before.sum('skein_transport_bytes_total'));
  expect(scraping.count).toBeGreaterThan(3);

  const router = await scrape(cluster.url);
  const relayed = router.sum('skein_router_requests_total');
  expect(relayed).toBe(router.sum('skein_http_requests_total', 'route="/v1/completions"'));
  expect(relayed).toBeLessThanOrEqual(ended.length);
  // Some left before the router had read their request.
  expect(relayed).toBeGreaterThanOrEqual(ended.filter(({ status }) => status !== 'aborted').length);
  const refused = router.sum('skein_router_requests_total', 'client_error');
  expect(refused).toBeGreaterThanOrEqual(ended.filter(({ status }) => status === 400).length);
  expect(refused).toBeLessThanOrEqual(ended.filter((_, i) => i % 17 === 3).length);
  expect(router.sum('skein_router_requests_in_flight')).toBe(0);
  expect(router.sum('skein_router_retries_total')).toBe(0);
  expect(router.sum('skein_http_requests_in_flight')).toBe(0);
});

test('one request id is in the lines of router and leader, and no prompt is', async () => {
  const response = await fetch(`${cluster.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-request-id': 'follow-me' },
    body: JSON.stringify({ prompt: 'unmistakable', max_tokens: 2 }),
  });
  expect(response.status).toBe(200);
  expect(response.headers.get('x-request-id')).toBe('follow-me');
  const lines = (): Record<string, unknown>[] =>
    cluster.process.output.split('\n').flatMap((line) => {
      return line.includes('follow-me') ? [JSON.parse(line) as Record<string, unknown>] : [];
    });
  await until('the lines of both', 5000, () => lines().filter(({ msg }) => msg === 'request').length === 2);
  expect(lines().find(({ role }) => role === 'router')).toMatchObject({ requestId: 'follow-me', outcome: 'ok' });
  expect(lines().find(({ msg, agent }) => msg === 'request' && agent === 'skein-0-0')).toMatchObject({
    requestId: 'follow-me',
    outputTokens: 2,
  });
  expect(lines().find(({ msg }) => msg === 'finished')).toMatchObject({ requestId: 'follow-me-0', reason: 'length' });
  expect(cluster.process.output).not.toContain('unmistakable');
});

test('prompts are logged where that is asked for', async () => {
  const port = await freePort();
  await using served: Launched = skein([
    'serve',
    TINY_CHAT,
    '--port',
    String(port),
    '--log-prompts',
    '--max-log-len',
    '8',
  ]);
  await untilReady(`http://127.0.0.1:${port}`, served);
  await fetch(`http://127.0.0.1:${port}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'unmistakable', max_tokens: 1 }),
  });
  expect(served.output).toContain('unmista');
  expect(served.output).not.toContain('unmistakable');
});
