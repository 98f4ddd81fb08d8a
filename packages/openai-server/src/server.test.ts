import OpenAI, { APIError } from 'openai';
import { expect, test } from 'vitest';
import { collect } from './testing/collect.ts';
import { EngineFailure } from './testing/engine-failure.ts';
import { createLogger } from '@skein/telemetry';
import { startServer, type StartedServer } from './testing/start-server.ts';

function clientOf({ url }: StartedServer): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });
}

const chat = { model: 'tiny', messages: [{ role: 'user' as const, content: 'Hi' }] };

test('answers a chat whole', async () => {
  await using server = await startServer({ now: () => 1_700_000_000_500 });
  const answer = await clientOf(server).chat.completions.create(
    { ...chat, seed: 7 },
    { headers: { 'x-request-id': 'abc' } },
  );
  expect(answer).toMatchObject({
    id: 'chatcmpl-abc',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'tiny',
    choices: [
      { index: 0, message: { role: 'assistant', content: 'Hello, world.' }, logprobs: null, finish_reason: 'stop' },
    ],
    usage: { prompt_tokens: 20, completion_tokens: 14, total_tokens: 34 },
  });
  expect(answer._request_id).toBe('abc');
  expect(server.engine.requests[0]).toMatchObject({
    requestId: 'abc-0',
    sampling: { seed: 7n, temperature: 1, choice: 0, maxTokens: 4076 },
  });
});

test('streams the same text in the documented chunks', async () => {
  await using server = await startServer();
  const stream = await clientOf(server).chat.completions.create({
    ...chat,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await collect(stream);
  expect(chunks[0]?.choices[0]).toEqual({
    index: 0,
    delta: { role: 'assistant', content: '' },
    logprobs: null,
    finish_reason: null,
  });
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe('Hello, world.');
  expect(chunks.at(-2)?.choices[0]).toMatchObject({ finish_reason: 'stop' });
  expect(chunks.at(-1)).toMatchObject({
    choices: [],
    usage: { prompt_tokens: 20, completion_tokens: 14, total_tokens: 34 },
  });
  expect(new Set(chunks.map(({ id, created, model, object }) => `${id} ${created} ${model} ${object}`)).size).toBe(1);
});

test('puts the tokens of one event in one chunk', async () => {
  await using server = await startServer();
  server.engine.script = { text: 'Hello, world.', eventSize: 5 };
  const chunks = await collect(await clientOf(server).chat.completions.create({ ...chat, stream: true }));
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content)).toEqual(['', 'Hello', ', wor', 'ld.']);
});

test('never cuts a character', async () => {
  await using server = await startServer();
  server.engine.script = { text: 'né 🪿 ไทย' };
  const chunks = await collect(await clientOf(server).chat.completions.create({ ...chat, stream: true }));
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content)).toEqual([
    '',
    'n',
    'é',
    ' ',
    '🪿',
    ' ',
    'ไ',
    'ท',
    'ย',
    '',
  ]);
});

test('gives n choices with one seed and their own numbers', async () => {
  await using server = await startServer();
  server.engine.script = ({ sampling }) => ({ text: `choice ${sampling.choice}`, eventSize: sampling.choice + 1 });
  const client = clientOf(server);
  const whole = await client.chat.completions.create({ ...chat, n: 3 });
  expect(whole.choices.map(({ message }) => message.content)).toEqual(['choice 0', 'choice 1', 'choice 2']);
  expect(whole.usage?.completion_tokens).toBe(27);
  expect(new Set(server.engine.requests.map(({ sampling }) => sampling.seed)).size).toBe(1);
  const texts = ['', '', ''];
  for await (const chunk of await client.chat.completions.create({ ...chat, n: 3, stream: true })) {
    for (const { index, delta } of chunk.choices) texts[index] += delta.content ?? '';
  }
  expect(texts).toEqual(['choice 0', 'choice 1', 'choice 2']);
});

test.each([
  { stop: 'world', text: 'Hello, ', tokens: 12 },
  { stop: ['lo, w', 'Hell!'], text: 'Hel', tokens: 8 },
  { stop: ['never'], text: 'Hello, world.', tokens: 14 },
  { stop: '.', include_stop_str_in_output: true, text: 'Hello, world.', tokens: 13 },
])('stops at $stop however events are cut, stream or not', async ({ text, tokens, ...fields }) => {
  await using server = await startServer();
  const client = clientOf(server);
  for (const eventSize of [1, 2, 3, 5, 50]) {
    server.engine.script = { text: 'Hello, world.', eventSize };
    const whole = await client.chat.completions.create({ ...chat, ...fields });
    expect(whole.choices[0]).toMatchObject({ message: { content: text }, finish_reason: 'stop' });
    expect(whole.usage?.completion_tokens).toBe(tokens);
    const stream = await client.chat.completions.create({
      ...chat,
      ...fields,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await collect(stream);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(text);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(tokens);
  }
  expect(server.engine.running).toBe(0);
});

test('reports chat logprobs, the same streamed and whole', async () => {
  await using server = await startServer();
  server.engine.script = { text: 'né', eventSize: 2 };
  const client = clientOf(server);
  const fields = { ...chat, logprobs: true, top_logprobs: 2 };
  const whole = await client.chat.completions.create(fields);
  const content = whole.choices[0]?.logprobs?.content ?? [];
  expect(content.map(({ bytes }) => bytes)).toEqual([[110], [0xc3], [0xa9], [...Buffer.from('<end>')]]);
  expect(content[0]).toMatchObject({
    token: 'n',
    logprob: -0.5,
    top_logprobs: [{ token: 'n' }, { token: 'o', logprob: -1.5 }],
  });
  const chunks = await collect(await client.chat.completions.create({ ...fields, stream: true }));
  expect(chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? [])).toEqual(content);
});

test('completes text, lists of text and token ids', async () => {
  await using server = await startServer();
  const client = clientOf(server);
  const one = await client.completions.create({ model: 'alias', prompt: 'ab' });
  expect(one).toMatchObject({
    object: 'text_completion',
    model: 'alias',
    choices: [{ text: 'Hello, world.', finish_reason: 'stop' }],
  });
  expect(one.id).toMatch(/^cmpl-/);
  expect(server.engine.requests[0]?.sampling.maxTokens).toBe(16);
  server.engine.script = ({ sampling }) => ({ text: 'Hello, world.', numCachedTokens: sampling.choice === 0 ? 1 : 2 });
  const two = await client.completions.create({ model: 'tiny', prompt: [[65, 66], [67]], n: 2, max_tokens: 5 });
  expect(two.choices.map(({ index, text, finish_reason }) => ({ index, text, finish_reason }))).toEqual(
    [0, 1, 2, 3].map((index) => ({ index, text: 'Hello', finish_reason: 'length' })),
  );
  expect(two.usage).toEqual({
    prompt_tokens: 3,
    completion_tokens: 20,
    total_tokens: 23,
    prompt_tokens_details: { cached_tokens: 2 },
  });
  expect(
    server.engine.requests.slice(1).map(({ sampling, promptTokenIds }) => [sampling.choice, promptTokenIds.length]),
  ).toEqual([
    [0, 2],
    [1, 2],
    [0, 1],
    [1, 1],
  ]);
});

test('echoes the prompt with its logprobs', async () => {
  await using server = await startServer();
  const client = clientOf(server);
  const fields = { model: 'tiny', prompt: 'ab', echo: true, logprobs: 1, max_tokens: 2 };
  const { choices } = await client.completions.create(fields);
  const expected = {
    tokens: ['a', 'b', 'H', 'e'],
    token_logprobs: [null, -0.5, -0.5, -0.5],
    top_logprobs: [null, { b: -0.5 }, { H: -0.5 }, { e: -0.5 }],
    text_offset: [0, 1, 2, 3],
  };
  expect(choices[0]).toMatchObject({ text: 'abHe', logprobs: expected });
  const chunks = await collect(await client.completions.create({ ...fields, stream: true }));
  expect(chunks.map((chunk) => chunk.choices[0]?.text).join('')).toBe('abHe');
  expect(chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.text_offset ?? [])).toEqual(expected.text_offset);
  const score = await client.completions.create({ ...fields, max_tokens: 0 });
  expect(score.choices[0]).toMatchObject({ text: 'ab', finish_reason: 'length', logprobs: { tokens: ['a', 'b'] } });
});

test('hands over stop tokens and knows whose they were', async () => {
  await using server = await startServer();
  const extra = { stop_token_ids: [111], ignore_eos: true } as object;
  const answer = await clientOf(server).chat.completions.create({ ...chat, ...extra });
  expect(answer.choices[0]).toMatchObject({ message: { content: 'Hell' }, finish_reason: 'stop', stop_reason: 111 });
  expect(server.engine.requests[0]?.sampling).toMatchObject({ stopTokenIds: [111], eosTokenIds: [] });
});

test('tells an engine that fails before the first token by status', async () => {
  await using server = await startServer();
  const cases = [
    ['ERR_OVERLOADED', 429],
    ['ERR_DRAINING', 503],
    ['ERR_ENGINE_LOST', 503],
    ['ERR_PROMPT_TOO_LONG', 400],
    ['ERR_INTERNAL', 500],
  ] as const;
  for (const [code, status] of cases) {
    for (const stream of [true, false]) {
      server.engine.script = {
        text: 'x',
        failAfter: { tokens: 0, error: new EngineFailure(code, 'secret: 0xdeadbeef') },
      };
      const failure = await clientOf(server)
        .chat.completions.create({ ...chat, stream })
        .then(
          () => null,
          (error: unknown) => error,
        );
      expect(failure).toBeInstanceOf(APIError);
      expect(failure).toMatchObject({ status });
      if (status >= 429) expect((failure as Error).message).not.toContain('secret');
    }
  }
});

test('tells an engine that fails later by one error event and no [DONE]', async () => {
  await using server = await startServer();
  server.engine.script = {
    text: 'Hello',
    failAfter: { tokens: 2, error: new EngineFailure('ERR_ENGINE_LOST', 'gone') },
  };
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    const stream = await clientOf(server).chat.completions.create({ ...chat, stream: true });
    for await (const chunk of stream) seen.push(chunk.choices[0]?.delta.content ?? '');
  };
  await expect(read()).rejects.toThrow(APIError);
  expect(seen.join('')).toBe('He');
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-request-id': 'r1' },
    body: JSON.stringify({ ...chat, stream: true }),
  });
  const text = await response.text();
  expect(text).not.toContain('[DONE]');
  expect(text.trim().split('\n').at(-1)).toMatch(/^data: \{"error":\{.*"code":503,"request_id":"r1"\}\}$/);
});

test('serves what a probe or a dashboard asks for', async () => {
  let ready = true;
  await using server = await startServer({ isReady: () => ({ ready, reason: 'loading' }) });
  const client = clientOf(server);
  expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['tiny', 'alias']);
  expect(await client.models.retrieve('tiny')).toMatchObject({
    id: 'tiny',
    object: 'model',
    max_model_len: 4096,
    parent: null,
  });
  const get = async (path: string): Promise<[number, string]> => {
    const response = await fetch(server.url + path);
    return [response.status, await response.text()];
  };
  expect(await get('/health')).toEqual([200, '']);
  expect(await get('/readyz')).toEqual([200, '{"ready":true}']);
  expect(await get('/version')).toEqual([200, '{"version":"1.2.3"}']);
  expect(await get('/v1/skein/topology')).toEqual([200, '{"groups":[]}']);
  expect(await get('/v1/skein/experts')).toEqual([200, '{"groups":[]}']);
  ready = false;
  expect(await get('/health')).toEqual([503, '']);
  expect(await get('/livez')).toEqual([200, '']);
  expect(await get('/readyz')).toEqual([503, '{"ready":false,"reason":"loading"}']);
  await client.chat.completions.create({ ...chat, n: 2 });
  const [, text] = await get('/metrics');
  expect(text).toContain('vllm:request_params_n_bucket{le="2",model_name="tiny",engine="0"} 1');
  expect(text).toContain('skein_http_requests_total{route="/v1/chat/completions",status="200"} 1');
});

test('counts a request as in flight while its stream runs, and logs no probe', async () => {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', format: 'json', sink: { write: (line) => lines.push(line) } });
  await using server = await startServer({ log });
  server.engine.script = { text: 'Hello', hangAfter: 2 };
  const inFlight = async (): Promise<string | undefined> =>
    /^skein_http_requests_in_flight (\d+)$/m.exec(await server.metrics.text())?.[1];
  const leaving = new AbortController();
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], stream: true }),
    headers: { 'content-type': 'application/json' },
    signal: leaving.signal,
  });
  await response.body?.getReader().read();
  expect(await inFlight()).toBe('1');
  for (const path of ['health', 'livez', 'readyz', 'metrics', 'v1/skein/topology', 'v1/skein/experts'])
    await (await fetch(`${server.url}/${path}`)).arrayBuffer();
  leaving.abort();
  await expect.poll(inFlight).toBe('0');
  expect(lines.map((line) => (JSON.parse(line) as { route: string }).route)).toEqual(['/v1/chat/completions']);
});

test('prompts are in the log only where that was asked for, cut to their limit, under the request id', async () => {
  for (const logPromptChars of [null, 30]) {
    const lines: string[] = [];
    const log = createLogger({ level: 'trace', format: 'json', sink: { write: (line) => lines.push(line) } });
    await using server = await startServer({ log, logPromptChars });
    for (const body of [
      { path: 'chat/completions', messages: [{ role: 'user', content: `secret ${'x'.repeat(100)}` }] },
      { path: 'completions', prompt: 'a secret' },
      { path: 'completions', prompt: 'a secret', temperature: 'secret' },
    ])
      await fetch(`${server.url}/v1/${body.path}`, {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json', 'x-request-id': 'id-1' },
      }).then(async (response) => response.arrayBuffer());
    const prompts = lines
      .map((line) => JSON.parse(line) as { prompt?: string; requestId?: string })
      .filter((l) => l.prompt);
    expect(lines.join('').includes('secret')).toBe(logPromptChars !== null);
    expect(prompts.map(({ prompt, requestId }) => [prompt?.length, requestId])).toEqual(
      logPromptChars === null
        ? []
        : [
            [30, 'id-1'],
            [10, 'id-1'],
          ],
    );
  }
});
