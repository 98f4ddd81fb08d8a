import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import { startServer, type StartedServer } from './testing/start-server.ts';
import { signClient } from './client-identity.ts';

const chat = { model: 'tiny', messages: [{ role: 'user', content: 'Hi' }] };

async function post(
  server: StartedServer,
  body: unknown,
  path = '/v1/chat/completions',
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

const badBodies: readonly (readonly [string, unknown, string | null])[] = [
  ['not JSON', '{"model":', 'body'],
  ['NaN', '{"messages":[{"role":"user","content":"x"}],"temperature":NaN}', 'body.temperature'],
  ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 'body'],
  ['a list', [], 'body'],
  ['too deep', `${'['.repeat(40)}${']'.repeat(40)}`, 'body'],
  ['no messages', { model: 'tiny' }, 'body.messages'],
  ['empty messages', { ...chat, messages: [] }, 'body.messages'],
  ['a strange role', { ...chat, messages: [{ role: 'root', content: 'x' }] }, 'body.messages.0.role'],
  ['an image', { ...chat, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'body.messages.0.content'],
  ['Infinity', '{"messages":[{"role":"user","content":"x"}],"temperature":1e999}', 'body.temperature'],
  ['negative temperature', { ...chat, temperature: -1 }, 'body.temperature'],
  ['2^63 tokens', '{"messages":[{"role":"user","content":"x"}],"max_tokens":9223372036854775808}', 'body.max_tokens'],
  ['half a token', { ...chat, max_tokens: 0.5 }, 'body.max_tokens'],
  ['top_p 0', { ...chat, top_p: 0 }, 'body.top_p'],
  ['n 0', { ...chat, n: 0 }, 'body.n'],
  ['n 1000', { ...chat, n: 1000 }, 'body.n'],
  ['n 2 and greedy', { ...chat, n: 2, temperature: 0 }, 'body.n'],
  ['17 stops', { ...chat, stop: Array(17).fill('a') }, 'body.stop'],
  ['an empty stop', { ...chat, stop: '' }, 'body.stop'],
  ['a stop id outside', { ...chat, stop_token_ids: [9999] }, 'body.stop_token_ids'],
  ['stream_options alone', { ...chat, stream_options: { include_usage: true } }, 'body.stream_options'],
  ['top_logprobs alone', { ...chat, top_logprobs: 2 }, 'body.top_logprobs'],
  ['tools', { ...chat, tools: [{ type: 'function', function: { name: 'f' } }] }, 'body.tools'],
  ['a JSON schema', { ...chat, response_format: { type: 'json_object' } }, 'body.response_format'],
  ['beam search', { ...chat, use_beam_search: true }, 'body.use_beam_search'],
  ['a template', { ...chat, chat_template: '{{ x }}' }, 'body.chat_template'],
  ['too many tokens', { ...chat, max_tokens: 4090 }, 'body.max_tokens'],
  ['too many completion tokens', { ...chat, max_completion_tokens: 4090 }, 'body.max_completion_tokens'],
  ['too long a prompt', { ...chat, messages: [{ role: 'user', content: 'x'.repeat(5000) }] }, 'body.messages'],
];

test.each(badBodies)('refuses %s with 400', async (_, body, param) => {
  await using server = await startServer();
  const answer = await post(server, body);
  expect(answer).toMatchObject({ status: 400, body: { error: { code: 400, param } } });
  expect(server.engine.requests).toHaveLength(0);
});

test('names the numbers when a prompt does not fit', async () => {
  await using server = await startServer();
  const { body } = await post(server, { ...chat, messages: [{ role: 'user', content: 'x'.repeat(5000) }] });
  expect(JSON.stringify(body)).toMatch(/4096 tokens.*5018 tokens/);
});

test('lets neutral values and unknown fields pass', async () => {
  await using server = await startServer();
  const neutral = {
    tools: [],
    tool_choice: 'none',
    response_format: { type: 'text' },
    presence_penalty: 0,
    logit_bias: {},
    min_tokens: 0,
    nobody: 1,
  };
  expect((await post(server, { ...chat, ...neutral, temperature: null })).status).toBe(200);
});

test('refuses completions it cannot do', async () => {
  await using server = await startServer();
  const refused = {
    suffix: { prompt: 'a', suffix: 'b' },
    prompt: { prompt: [] },
    'prompt.': { prompt: '' },
    max_tokens: { prompt: 'a', max_tokens: 0 },
    'prompt..': { prompt: 'x'.repeat(5000) },
    'max_tokens.': { prompt: 'a', max_tokens: 4096 },
  };
  for (const [field, body] of Object.entries(refused)) {
    const answer = await post(server, body, '/v1/completions');
    expect(answer).toMatchObject({ status: 400, body: { error: { param: `body.${field.replaceAll('.', '')}` } } });
  }
});

test('has one status for each refusal', async () => {
  await using server = await startServer({ bodyLimits: { maxBytes: 1000 } });
  const status = async (path: string, init: RequestInit = {}): Promise<number> =>
    (await fetch(server.url + path, init)).status;
  expect(await post(server, { ...chat, model: 'other' })).toMatchObject({
    status: 404,
    body: { error: { type: 'NotFoundError', message: 'The model `other` does not exist.' } },
  });
  expect(await status('/v1/models/other')).toBe(404);
  expect(await status('/nowhere')).toBe(404);
  expect(await status('/v1/chat/completions')).toBe(405);
  expect(await status('/v1/models', { method: 'DELETE' })).toBe(405);
  expect(
    await status('/v1/completions', { method: 'POST', body: '{}', headers: { 'content-type': 'text/plain' } }),
  ).toBe(415);
  expect((await post(server, 'x'.repeat(1001))).status).toBe(413);
});

test('cuts an upload off at the limit, declared or not', async () => {
  await using server = await startServer({ bodyLimits: { maxBytes: 1000 } });
  for (const framing of ['Content-Length: 90000000', 'Transfer-Encoding: chunked']) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${framing}\r\n\r\n7D0\r\n${'a'.repeat(2000)}\r\n`,
    );
    expect(await read(socket, '\r\n')).toContain('HTTP/1.1 413');
    socket.destroy();
  }
});

test('guards every path but the open ones', async () => {
  await using server = await startServer({ apiKeys: ['one', 'two'], guardMetrics: true });
  const status = async (path: string, key?: string): Promise<number> => {
    return (await fetch(server.url + path, { headers: key === undefined ? {} : { authorization: `Bearer ${key}` } }))
      .status;
  };
  for (const path of [
    '/v1/models',
    '/v1/models/tiny',
    '/v1/chat/completions',
    '/v1/skein/topology',
    '/v1/skein/experts',
    '/metrics',
    '/V1/models',
    '//v1/models',
    '/v1%2fmodels',
    '/nowhere',
  ]) {
    expect(await status(path)).toBe(401);
    expect(await status(path, 'three')).toBe(401);
  }
  expect(await status('/v1/models', 'one')).toBe(200);
  expect(await status('/v1/models', 'two')).toBe(200);
  for (const path of ['/health', '/livez', '/readyz', '/version']) expect(await status(path)).toBe(200);
  const refused = await fetch(`${server.url}/v1/models`);
  expect(await refused.text()).toBe('{"error":"Unauthorized"}');
});

test('believes a router that signs, and nobody else', async () => {
  await using server = await startServer({ groupKey: 'group' });
  const ask = async (headers: Record<string, string>): Promise<string | undefined> => {
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(chat),
    };
    await (await fetch(`${server.url}/v1/chat/completions`, init)).text();
    return server.engine.requests.at(-1)?.client;
  };
  expect(await ask({})).toBe('anonymous');
  expect(await ask({ authorization: 'Bearer k' })).toMatch(/^key-[0-9a-f]{32}$/);
  expect(await ask({ 'x-skein-client': 'key-1', 'x-skein-signature': signClient('group', 'key-1') })).toBe('key-1');
  expect(await ask({ 'x-skein-client': 'key-1', 'x-skein-signature': signClient('wrong', 'key-1') })).toBe('anonymous');
});

test.each([true, false])('stops the engine when the client leaves (stream: %s)', async (stream) => {
  await using server = await startServer();
  server.engine.script = { text: 'Hello', hangAfter: 2 };
  const leave = new AbortController();
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...chat, n: 2, stream }),
  };
  const response = fetch(`${server.url}/v1/chat/completions`, { ...init, signal: leave.signal });
  response.catch(() => {});
  await vi.waitFor(() => expect(server.engine.tokensMade).toBe(4));
  if (stream) await (await response).body?.getReader().read();
  const leftMs = performance.now();
  leave.abort();
  await vi.waitFor(() => expect(server.engine).toMatchObject({ running: 0, aborted: 2 }), { interval: 5 });
  expect(performance.now() - leftMs).toBeLessThan(200);
  expect(await server.metrics.text()).toContain('status="499"} 1');
  expect(server.server.inFlight).toBe(0);
});

test('a reader that does not read holds the engine back', async () => {
  await using server = await startServer({ model: { names: ['tiny'], maxModelLen: 2_000_000, eosTokenIds: [] } });
  server.engine.script = { text: 'x'.repeat(200_000) };
  const socket = connect({ port: server.port, host: '127.0.0.1' });
  const body = JSON.stringify({ ...chat, stream: true });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  socket.pause();
  let before = -1;
  await vi.waitFor(
    () => {
      const made = server.engine.tokensMade;
      const stuck = made > 0 && made === before;
      before = made;
      expect(stuck).toBe(true);
    },
    { interval: 200, timeout: 10_000 },
  );
  // 200,000 tokens would be 40 MB of events; the sockets between hold a few.
  expect(server.engine.tokensMade).toBeLessThan(80_000);
  socket.destroy();
  await vi.waitFor(() => expect(server.engine.running).toBe(0));
});

test('drains: not ready, no new work, running streams finish', async () => {
  const server = await startServer();
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  const original = server.engine.generate.bind(server.engine);
  server.engine.generate = async function* (request, signal) {
    for await (const event of original(request, signal)) {
      yield event;
      await gate;
    }
  };
  const stream = fetchStream(server);
  await vi.waitFor(() => expect(server.engine.running).toBe(1));
  const drained = server.server.drain(5_000);
  expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
  expect((await post(server, chat)).status).toBe(503);
  release();
  expect(await stream).toMatch(/\[DONE\]\n\n$/);
  await drained;
  await expect(fetch(`${server.url}/livez`)).rejects.toThrow();
});

test('ends with an error event what outlasts the drain budget', async () => {
  const server = await startServer();
  server.engine.script = { text: 'Hello', hangAfter: 2 };
  const stream = fetchStream(server);
  await vi.waitFor(() => expect(server.engine.tokensMade).toBe(2));
  await server.server.drain(20);
  const text = await stream;
  expect(text).not.toContain('[DONE]');
  expect(text).toContain('data: {"error":{"message":"The server is shutting down."');
  expect(server.engine.running).toBe(0);
});

test('answers bytes that are no HTTP, and slow ones', async () => {
  await using server = await startServer({ connectionLimits: { headersMs: 300, headerBytes: 2048 } });
  const talk = async (bytes: string): Promise<string> => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(bytes);
    const answer = await read(socket, '\r\n');
    socket.destroy();
    return answer;
  };
  expect(await talk('nonsense\r\n\r\n')).toContain('HTTP/1.1 400');
  expect(await talk(`GET / HTTP/1.1\r\nX: ${'a'.repeat(4000)}\r\n\r\n`)).toContain('HTTP/1.1 431');
  expect(await talk('GET / HTTP/1.1\r\nHost: ')).toContain('HTTP/1.1 408');
});

async function fetchStream(server: StartedServer): Promise<string> {
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...chat, stream: true }),
  };
  return (await fetch(`${server.url}/v1/chat/completions`, init)).text();
}

async function read(socket: Socket, until: string): Promise<string> {
  let text = '';
  while (!text.includes(until)) text += String(((await once(socket, 'data')) as [Buffer])[0]);
  return text;
}
