import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { client, type Served, topology, until, up } from '../support/cluster.ts';

/** More prompt tokens than a few steps hold: the request stays in its prefill for long enough to be left there. */
const PREFILL = {
  path: '/v1/completions',
  body: { prompt: prompts(16, 2000), max_tokens: 40, ignore_eos: true },
};
const DECODE = {
  path: '/v1/completions',
  body: { prompt: 'Count', max_tokens: 1900, ignore_eos: true },
};

interface Work {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const idle = { 'vllm:num_requests_running': 0, 'vllm:num_requests_waiting': 0, 'vllm:kv_cache_usage_perc': 0 };
const GRACE_MS = 200;
/** What a step of as many tokens as fit sends from stage to stage: 2048 rows of 256 floats. The prefill takes 16 of them. */
const STEP_BYTES = 2048 * 256 * 4;
/** Planned when the client leaves, or sent before and told of later. */
const STEPS_AFTER_MAX = 5;
/** Ranks tell of their bytes now and then. */
const REST_MS = 1500;
/** A canary may pass meanwhile: one token, through each pair once. */
const CANARY_BYTES = 4096;

let cluster: Served;
let leader: string;
let numAsked = 0;

beforeAll(async () => {
  cluster = await up(['--pp', '2']);
  leader = (await topology(cluster.url)).groups[0]?.url ?? '';
}, 90_000);
afterAll(() => cluster[Symbol.asyncDispose]());

describe.each(['through the router', 'at the leader'])('a client that leaves %s', (way) => {
  const url = (): string => (way === 'at the leader' ? leader : cluster.url);

  test.each([
    ['a stream', 'prefill', { ...PREFILL, body: { ...PREFILL.body, stream: true } }],
    ['a whole answer', 'prefill', PREFILL],
    ['a stream', 'decoding', { ...DECODE, body: { ...DECODE.body, stream: true } }],
    ['a whole answer', 'decoding', DECODE],
  ])('%s during its %s ends the work in every stage', async (_, phase, work) => {
    await until('the group to be idle', 5000, async () => isIdle(await metrics(leader)));
    const stepMs = phase === 'prefill' ? await longestStepMs() : 0;
    const before = await metrics(leader);
    const left = new AbortController();
    const answer = post(url(), work, left.signal);

    let working = before;
    await until('the work to begin', 5000, async () => {
      working = await metrics(leader);
      const tokens = generated(working) - generated(before);
      return phase === 'prefill' ? running(working) > 0 : tokens > 30;
    });
    const sentBefore = phase === 'prefill' ? await bytesSent() : new Map<string, number>();
    const leftMs = performance.now();
    left.abort();
    await expect(answer).rejects.toThrow('This operation was aborted');

    // A probe that was sent in time may be answered late, behind a step; it still saw what was so in time.
    let probedMs = leftMs;
    await until('the work to end', 5000, async () => {
      probedMs = performance.now();
      return isIdle(await metrics(leader));
    });
    expect(probedMs - leftMs).toBeLessThan(stepMs + GRACE_MS);

    await pause(Math.max(0, leftMs + stepMs + GRACE_MS - performance.now()));
    const after = await metrics(leader);
    const sent = await bytesSentAtRest();
    const later = await metrics(leader);
    expect(generated(later)).toBe(generated(after));
    expect(generated(after) - generated(before)).toBeLessThan(phase === 'prefill' ? 16 * 40 : 1900);
    if (phase === 'prefill') {
      const steps = Math.max(...[...sent].map(([pair, n]) => (n - (sentBefore.get(pair) ?? 0)) / STEP_BYTES));
      expect(steps).toBeLessThan(STEPS_AFTER_MAX);
    }
    expect(later.get('vllm:request_success_total{abort}')).toBeGreaterThan(
      before.get('vllm:request_success_total{abort}') ?? 0,
    );
    await routerIsIdle();
  });
});

test('after a hundred clients that left at any time all counters are at zero and the next request is clean', async () => {
  const random = randomFrom(20_260_101);
  const greedy = async (): Promise<string> => {
    const answer = await client(cluster.url).chat.completions.create({
      model: 'tiny-chat',
      messages: [{ role: 'user', content: 'Count from 1 to 20.' }],
      temperature: 0,
    });
    return answer.choices[0]?.message.content ?? '';
  };
  const before = await greedy();
  const aborted = (await metrics(leader)).get('vllm:request_success_total{abort}') ?? 0;

  let numLeft = 0;
  const leave = async (): Promise<void> => {
    const left = new AbortController();
    const work = random() < 0.3 ? { ...PREFILL, body: { ...PREFILL.body, prompt: prompts(2, 1500) } } : DECODE;
    const body = { ...work.body, stream: random() < 0.5, n: random() < 0.3 ? 3 : 1, temperature: 1, seed: 1 };
    const answer = post(random() < 0.5 ? cluster.url : leader, { ...work, body }, left.signal);
    const afterMs = random() * 250;
    await Promise.race([pause(afterMs), answer.catch(() => {})]);
    left.abort();
    await answer.catch(() => (numLeft += 1));
  };
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      for (let i = 0; i < 10; i++) await leave();
    }),
  );

  expect(numLeft).toBeGreaterThan(90);
  await until('the group to be idle', 2000, async () => isIdle(await metrics(leader)));
  await routerIsIdle();
  expect((await metrics(leader)).get('vllm:request_success_total{abort}')).toBeGreaterThan(aborted + 50);
  expect(await greedy()).toBe(before);
  expect((await topology(cluster.url)).groups[0]).toMatchObject({ ready: true, epoch: 1 });
});

function prompts(count: number, length: number): number[][] {
  return Array.from({ length: count }, (_, i) => Array.from({ length }, (__, j) => 10 + ((i * 37 + j * 11) % 1900)));
}

/** Reads the answer to its end. */
async function post(url: string, work: Work, signal: AbortSignal): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}${work.path}`, {
    method: 'POST',
    headers,
    // Nothing of what was asked before is reused.
    body: JSON.stringify({ ...work.body, cache_salt: `${numAsked++}` }),
    signal,
  });
  return response.text();
}

/** The time that a step of as many tokens as fit takes here and now, and what is around it. */
async function longestStepMs(): Promise<number> {
  const startMs = performance.now();
  await post(
    leader,
    { ...PREFILL, body: { ...PREFILL.body, prompt: prompts(1, 2000), max_tokens: 1 } },
    AbortSignal.timeout(10_000),
  );
  return performance.now() - startMs;
}

/** Samples by name, summed over their labels; request_success also by reason. */
async function metrics(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const samples = new Map<string, number>();
  for (const [, name = '', labels = '', value] of text.matchAll(/^([\w:]+)(\{[^}]*\})? (\S+)$/gm)) {
    samples.set(name, (samples.get(name) ?? 0) + Number(value));
    const reason = /finished_reason="(\w+)"/.exec(labels)?.[1];
    if (reason) samples.set(`${name}{${reason}}`, Number(value));
  }
  return samples;
}

function isIdle(samples: ReadonlyMap<string, number>): boolean {
  return Object.entries(idle).every(([name, value]) => samples.get(name) === value);
}

function running(samples: ReadonlyMap<string, number>): number {
  return samples.get('vllm:num_requests_running') ?? 0;
}

function generated(samples: ReadonlyMap<string, number>): number {
  const count = samples.get('vllm:generation_tokens_total');
  if (count === undefined) throw new Error('no vllm:generation_tokens_total');
  return count;
}

async function bytesSent(): Promise<Map<string, number>> {
  const [group] = (await topology(cluster.url)).groups;
  expect(group?.pairs).toHaveLength(2);
  return new Map(group?.pairs.map((pair) => [`${pair.from} ${pair.to}`, pair.bytes]));
}

/** Waits until nothing more is sent. */
async function bytesSentAtRest(): Promise<Map<string, number>> {
  let sent = await bytesSent();
  await until('the stages to rest', 10_000, async () => {
    const earlier = sent;
    await pause(REST_MS);
    sent = await bytesSent();
    return [...sent].every(([pair, bytes]) => bytes - (earlier.get(pair) ?? 0) <= CANARY_BYTES);
  });
  return sent;
}

async function routerIsIdle(): Promise<void> {
  await until('the router to be idle', 1000, async () => {
    const [router, server] = [await metrics(cluster.url), await metrics(leader)];
    const inFlight = [router, server].map((samples) => samples.get('skein_http_requests_in_flight'));
    return router.get('skein_router_requests_in_flight') === 0 && inFlight.every((count) => count === 0);
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
