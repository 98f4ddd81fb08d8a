import { verifyClient } from '@skein/openai-server';
import { Metrics, silentLogger } from '@skein/telemetry';
import { expect, test, vi } from 'vitest';
import { createRouter, type Router, type RouterOptions } from './router.ts';
import { die, event, stall, startLeader, status, stream, whole } from './testing/fake-leader.ts';
import { advertOf, FakeWatch } from './testing/fake-watch.ts';

interface Started extends AsyncDisposable {
  readonly router: Router;
  readonly bus: FakeWatch;
  readonly metrics: Metrics;
  readonly url: string;
  counter(line: string): Promise<number>;
}

async function startRouter(options: Partial<RouterOptions> = {}): Promise<Started> {
  const bus = new FakeWatch();
  const metrics = new Metrics();
  const router = createRouter({
    bus,
    metrics,
    log: silentLogger,
    version: '1',
    retryMs: 400,
    mergeMs: 300,
    ...options,
  });
  const { port } = await router.listen('127.0.0.1', 0);
  const url = `http://127.0.0.1:${port}`;
  const counter = async (line: string): Promise<number> => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(
      text
        .split('\n')
        .find((each) => each.startsWith(line))
        ?.split(' ')
        .at(-1) ?? 0,
    );
  };
  return { router, bus, metrics, url, counter, [Symbol.asyncDispose]: () => router.close() };
}

function ask({ url }: Started, init: RequestInit = {}): Promise<Response> {
  const headers = { 'content-type': 'application/json', ...(init.headers as Record<string, string> | undefined) };
  return fetch(`${url}/v1/chat/completions?x=1`, { method: 'POST', body: '{"model":"tiny"}', ...init, headers });
}

test('relays a request and its answer, and says who asks', async () => {
  await using leader = await startLeader(whole);
  await using started = await startRouter({ groupKey: 'group' });
  started.bus.announce(advertOf('g0', leader.url));
  const headers = {
    authorization: 'Bearer k',
    'x-request-id': 'abc',
    'x-skein-client': 'root',
    'x-skein-signature': '00',
    'x-other': 'y',
  };
  const response = await ask(started, { headers });
  expect([response.status, await response.text()]).toEqual([200, '{"ok":true}']);
  expect(response.headers.get('x-request-id')).toBe('abc');
  expect(response.headers.get('x-skein-secret')).toBeNull();
  const seen = leader.requests[0];
  expect(seen?.url).toBe('/v1/chat/completions?x=1');
  expect(seen?.headers).toMatchObject({ authorization: 'Bearer k', 'x-request-id': 'abc', 'x-other': 'y' });
  const client = String(seen?.headers['x-skein-client']);
  expect(client).toMatch(/^key-/);
  expect(verifyClient('group', client, String(seen?.headers['x-skein-signature']))).toBe(true);
  expect(leader.bodies).toEqual(['{"model":"tiny"}']);
  expect(started.router.numReserved).toBe(0);
  expect(await started.counter('skein_router_requests_total{outcome="ok"}')).toBe(1);
});

test('relays a stream byte for byte', async () => {
  await using leader = await startLeader(stream);
  await using started = await startRouter();
  started.bus.announce(advertOf('g0', leader.url));
  const response = await ask(started);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  expect(await response.text()).toBe(`${event('Hel')}${event('lo')}data: [DONE]\n\n`);
});

test.each([
  ['503', status(503)],
  ['a connection reset before the first event', die('')],
  ['a connection reset inside the first event', die(event('Hel').slice(0, 20))],
  [
    'a whole answer broken off',
    (
      _: unknown,
      response: {
        writeHead: (code: number, headers: object) => unknown;
        write: (text: string, done: () => void) => void;
        destroy: () => void;
      },
    ) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
      response.write('{"ok"', () => response.destroy());
    },
  ],
])('asks another leader after %s', async (_, behave) => {
  await using bad = await startLeader(behave as typeof whole);
  await using good = await startLeader(stream);
  await using started = await startRouter({ random: () => 0 });
  started.bus.announce(advertOf('bad', bad.url));
  started.bus.announce(advertOf('good', good.url));
  const response = await ask(started);
  expect(await response.text()).toContain('[DONE]');
  expect([bad.requests.length, good.requests.length]).toEqual([1, 1]);
  expect(started.router.numReserved).toBe(0);
});

test('ejects a leader that cannot be connected to, until its next advert', async () => {
  const gone = await startLeader(whole);
  await gone[Symbol.asyncDispose]();
  await using good = await startLeader(whole);
  await using started = await startRouter({ random: () => 0 });
  started.bus.announce(advertOf('gone', gone.url));
  started.bus.announce(advertOf('good', good.url));
  for (let i = 0; i < 3; i++) expect((await ask(started)).status).toBe(200);
  expect(await started.counter('skein_router_ejections_total{reason="connect"}')).toBe(1);
  expect(await started.counter('skein_router_endpoints{state="ejected"}')).toBe(1);
  await using back = await startLeader(whole, gone.port);
  started.bus.announce(advertOf('gone', gone.url));
  expect((await ask(started)).status).toBe(200);
  expect(back.requests).toHaveLength(1);
});

test('waits for a leader that is being formed anew', async () => {
  await using leader = await startLeader(whole);
  await using started = await startRouter({ retryMs: 5_000 });
  started.bus.announce(advertOf('g0', leader.url, { ready: false }));
  expect((await fetch(`${started.url}/readyz`)).status).toBe(503);
  const answer = ask(started);
  await vi.waitFor(async () => expect(await started.counter('skein_router_requests_in_flight')).toBe(1));
  started.bus.announce(advertOf('g0', leader.url));
  expect((await answer).status).toBe(200);
  expect((await fetch(`${started.url}/readyz`)).status).toBe(200);
});

test('gives up in time, with one status for each cause', async () => {
  await using started = await startRouter({ retryMs: 100, upstreamLimits: { firstByteMs: 100 } });
  const refusal = async (): Promise<[number, string]> => {
    const response = await ask(started);
    const { error } = (await response.json()) as { error: { type: string } };
    return [response.status, error.type];
  };
  expect(await refusal()).toEqual([503, 'ServiceUnavailableError']);
  await using leader = await startLeader(status(503));
  started.bus.announce(advertOf('g0', leader.url));
  expect(await refusal()).toEqual([503, 'ServiceUnavailableError']);
  leader.behave = die('');
  expect(await refusal()).toEqual([502, 'BadGatewayError']);
  leader.behave = () => {};
  expect(await refusal()).toEqual([504, 'GatewayTimeoutError']);
  leader.behave = status(429, { 'retry-after': '3' });
  const overloaded = await ask(started);
  expect([overloaded.status, overloaded.headers.get('retry-after')]).toEqual([429, '3']);
  leader.behave = status(400);
  expect((await ask(started)).status).toBe(400);
  const text = await (await fetch(`${started.url}/metrics`)).text();
  for (const line of ['no_endpoint"} 2', 'unreachable"} 1', 'timeout"} 1', 'overloaded"} 1', 'client_error"} 1'])
    expect(text).toContain(line);
});

test('a leader lost in mid-stream ends the stream with one error event', async () => {
  await using leader = await startLeader(die(event('Hel') + event('lo').slice(0, 30)));
  await using started = await startRouter();
  started.bus.announce(advertOf('g0', leader.url));
  const text = await (await ask(started, { headers: { 'x-request-id': 'r' } })).text();
  expect(text).toMatch(/^data: \{"id".*"Hel".*\n\ndata: \{"error":\{.*"code":502,"request_id":"r"\}\}\n\n$/);
  expect(text).not.toContain('[DONE]');
  expect(leader.requests).toHaveLength(1);
  expect(await started.counter('skein_router_requests_total{outcome="lost"}')).toBe(1);
  expect(started.router.numReserved).toBe(0);
});

test('a stream of a leader whose lease expired ends when the leader no longer answers for itself, not before', async () => {
  let answersLivez = true;
  let numAsked = 0;
  await using leader = await startLeader((request, response, body) => {
    if (request.url !== '/livez') return stall(event('Hel'))(request, response, body);
    numAsked += 1;
    if (answersLivez) response.end();
  });
  await using started = await startRouter({ aliveMs: 100 });
  started.bus.announce(advertOf('g0', leader.url));
  const answer = await ask(started);
  started.bus.withdraw('g0');
  await vi.waitFor(() => expect(numAsked).toBe(2), { timeout: 5_000 });
  expect(started.router.numReserved).toBe(1);
  answersLivez = false;
  const text = await answer.text();
  expect(text).toMatch(/^data: \{"id".*"Hel".*\n\ndata: \{"error":\{.*"code":502/);
  expect(numAsked).toBe(3);
  expect(started.router.numReserved).toBe(0);
  expect(await started.counter('skein_router_requests_total{outcome="lost"}')).toBe(1);
});

test.each(['', event('Hel')])('a client that leaves cancels the leader at once (seen: %j)', async (bytes) => {
  await using leader = await startLeader(stall(bytes));
  await using started = await startRouter();
  started.bus.announce(advertOf('g0', leader.url));
  const leave = new AbortController();
  const answer = ask(started, { signal: leave.signal });
  answer.catch(() => {});
  await vi.waitFor(() => expect(leader.requests).toHaveLength(1));
  if (bytes !== '') await (await answer).body?.getReader().read();
  expect(started.router.numReserved).toBe(1);
  const leftMs = performance.now();
  leave.abort();
  await vi.waitFor(() => expect(leader.cancelled).toBe(1), { interval: 5 });
  expect(performance.now() - leftMs).toBeLessThan(200);
  await vi.waitFor(() => expect(started.router.numReserved).toBe(0));
  expect(await started.counter('skein_router_requests_total{outcome="client_gone"}')).toBe(1);
});

test('a burst is spread evenly, and nothing stays reserved', async () => {
  await using one = await startLeader(stall(event('x')));
  await using two = await startLeader(stall(event('x')));
  await using started = await startRouter();
  started.bus.announce(advertOf('g0', one.url));
  started.bus.announce(advertOf('g1', two.url));
  const leave = new AbortController();
  const burst = Array.from({ length: 100 }, () => ask(started, { signal: leave.signal }));
  await Promise.all(burst);
  expect([one.requests.length, two.requests.length]).toEqual([50, 50]);
  expect(started.router.numReserved).toBe(100);
  leave.abort();
  await vi.waitFor(() => expect(started.router.numReserved).toBe(0));
  expect(await started.counter('skein_router_requests_in_flight')).toBe(0);
});

test('a client that does not read holds the leader back', async () => {
  let sent = 0;
  await using leader = await startLeader((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const more = (): void => {
      while (sent < 100_000_000 && response.write(event('x'.repeat(10_000)))) sent += 10_000;
      response.once('drain', more);
    };
    more();
  });
  await using started = await startRouter();
  started.bus.announce(advertOf('g0', leader.url));
  const leave = new AbortController();
  const response = await ask(started, { signal: leave.signal });
  const reader = response.body?.getReader();
  await reader?.read();
  let before = -1;
  await vi.waitFor(
    () => {
      const stuck = sent === before;
      before = sent;
      expect(stuck).toBe(true);
    },
    { interval: 200, timeout: 5_000 },
  );
  expect(sent).toBeLessThan(30_000_000);
  leave.abort();
});

test('merges what leaders tell, and shows those that do not answer', async () => {
  await using leader = await startLeader((request, response) => {
    response.setHeader('content-type', 'application/json');
    const models = {
      object: 'list',
      data: [
        { id: 'tiny', object: 'model' },
        { id: 'alias', object: 'model' },
      ],
    };
    const experts = { groups: [{ name: 'g0', model: 'tiny', layers: [], ranks: [{ rankIndex: 0, tokens: 5 }] }] };
    const answers: Record<string, object> = { '/v1/models': models, '/v1/skein/experts': experts };
    response.end(JSON.stringify(answers[request.url ?? ''] ?? { groups: [] }));
  });
  await using silent = await startLeader(() => {});
  await using started = await startRouter();
  started.bus.announce(advertOf('g0', leader.url));
  started.bus.announce(advertOf('g1', silent.url, { model: 'other' }));
  const models = (await (await fetch(`${started.url}/v1/models`)).json()) as { data: { id: string }[] };
  expect(models.data.map(({ id }) => id)).toEqual(['tiny', 'alias', 'other']);
  expect((await fetch(`${started.url}/v1/models/alias`)).status).toBe(200);
  expect((await fetch(`${started.url}/v1/models/none`)).status).toBe(404);
  const topology = await (await fetch(`${started.url}/v1/skein/topology`)).json();
  expect(topology).toMatchObject({ groups: [{ name: 'g1', state: 'unreachable', ready: false }] });
  const experts = await (await fetch(`${started.url}/v1/skein/experts`)).json();
  expect(experts).toMatchObject({ groups: [{ name: 'g0', ranks: [{ rankIndex: 0, tokens: 5 }] }] });
});

test('sends a request to a leader of its model', async () => {
  await using one = await startLeader(whole);
  await using two = await startLeader(whole);
  await using started = await startRouter({ random: () => 0 });
  started.bus.announce(advertOf('g0', one.url, { model: 'a' }));
  started.bus.announce(advertOf('g1', two.url, { model: 'b' }));
  for (let i = 0; i < 3; i++) await ask(started, { body: '{"model":"b"}' });
  expect([one.requests.length, two.requests.length]).toEqual([0, 3]);
});

test('guards, limits and drains as the leader does', async () => {
  await using leader = await startLeader(whole);
  const started = await startRouter({ apiKeys: ['k'], maxBodyBytes: 100 });
  started.bus.announce(advertOf('g0', leader.url));
  const headers = { authorization: 'Bearer k' };
  expect((await ask(started)).status).toBe(401);
  expect((await ask(started, { headers })).status).toBe(200);
  expect((await ask(started, { headers, body: 'x'.repeat(101) })).status).toBe(413);
  leader.behave = stall(event('Hel'));
  const running = await ask(started, { headers });
  const drained = started.router.drain(50);
  expect((await fetch(`${started.url}/readyz`)).status).toBe(503);
  expect((await ask(started, { headers })).status).toBe(503);
  expect(await running.text()).toContain('data: {"error"');
  await drained;
  expect(leader.cancelled).toBe(1);
});

test('a lost leader is forgotten; an advert that makes no sense is not taken', async () => {
  await using leader = await startLeader(whole);
  await using started = await startRouter({ retryMs: 50 });
  started.bus.announce({ ...advertOf('g1', 'not a url') });
  expect((await ask(started)).status).toBe(503);
  started.bus.announce(advertOf('g0', leader.url));
  expect((await ask(started)).status).toBe(200);
  started.bus.announce(advertOf('g0', leader.url), 'bbbbbbbbbbbb');
  started.bus.tellReplaced(advertOf('g0', leader.url), 'abcdefghijkl');
  expect((await ask(started)).status).toBe(200);
  started.bus.withdraw('g0');
  expect((await ask(started)).status).toBe(503);
});

test('every counter of its own is there from the start', async () => {
  const metrics = new Metrics();
  createRouter({ bus: new FakeWatch(), metrics, log: silentLogger, version: '1' });
  const text = await metrics.text();
  for (const series of [
    'skein_router_retries_total{reason="connect"} 0',
    'skein_router_retries_total{reason="reset"} 0',
    'skein_router_retries_total{reason="unavailable"} 0',
    'skein_router_ejections_total{reason="connect"} 0',
    'skein_router_requests_total{outcome="ok"} 0',
    'skein_router_requests_total{outcome="client_gone"} 0',
  ])
    expect(text).toContain(series);
});
