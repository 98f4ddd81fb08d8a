import { expect, test } from 'vitest';
import { byteCodec, endOfText } from './testing/byte-codec.ts';
import { startServer, type StartedServer } from './testing/start-server.ts';

// What request fields beyond OpenAI's become: sampling parameters, prompts, and parts of the answer.

const chat = { model: 'tiny', messages: [{ role: 'user', content: 'Hi' }] };
const bytes = (text: string): number[] => [...Buffer.from(text)];

interface Choice {
  readonly text: string;
  readonly message: { readonly role: string; readonly content: string };
  readonly delta: { readonly content?: string };
  readonly logprobs: { readonly tokens: string[] };
  readonly token_ids?: number[];
  readonly prompt_token_ids?: number[];
}

/** An answer, or an event of one, as far as these tests look at it. */
interface Body {
  readonly id: string;
  readonly choices: Choice[];
  readonly prompt_token_ids?: number[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error: { readonly param: string; readonly message: string };
}

interface Reply {
  readonly status: number;
  readonly body: Body;
}

function first({ choices }: Body): Choice {
  const [choice] = choices;
  if (choice === undefined) throw new Error('no choice');
  return choice;
}

async function post(server: StartedServer, path: 'chat/completions' | 'completions', body: object): Promise<Reply> {
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`${server.url}/v1/${path}`, init);
  return { status: response.status, body: (await response.json()) as Body };
}

/** The events of a stream, [DONE] aside. */
async function stream(server: StartedServer, path: 'chat/completions' | 'completions', body: object): Promise<Body[]> {
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
  };
  const text = await (await fetch(`${server.url}/v1/${path}`, init)).text();
  return [...text.matchAll(/^data: (\{.*\})$/gm)].map(([, json = '']) => JSON.parse(json) as Body);
}

test('fields that change logits reach the engine as token ids; without any there are no rules', async () => {
  await using server = await startServer({ defaults: { repetitionPenalty: 1 } });
  const fields = {
    presence_penalty: 0.5,
    frequency_penalty: -1,
    repetition_penalty: 1.5,
    min_tokens: 3,
    stop_token_ids: [7],
    ignore_eos: true,
    logit_bias: { 65: 5, 66: -100, 67: 0 },
    allowed_token_ids: [72, 65, 72],
    bad_words: ['ab', '  c'],
    logprobs: true,
    logprob_token_ids: [72, 5],
  };
  await post(server, 'chat/completions', { ...chat, ...fields });
  await post(server, 'completions', {
    prompt: 'x',
    presence_penalty: 0,
    min_tokens: 0,
    logit_bias: { 65: 0 },
    bad_words: [],
  });
  expect(server.engine.requests.map(({ sampling }) => sampling.logitRules)).toEqual([
    {
      presencePenalty: 0.5,
      frequencyPenalty: -1,
      repetitionPenalty: 1.5,
      minTokens: 3,
      stopIds: [endOfText, 7],
      biases: [
        { tokenId: 65, value: 5 },
        { tokenId: 66, value: -100 },
      ],
      allowedIds: [65, 72],
      badWords: [bytes('ab'), bytes('c')],
      logprobIds: [72, 5],
    },
    null,
  ]);
});

test('the checkpoint decides on the repetition penalty where the request does not', async () => {
  await using server = await startServer({ defaults: { repetitionPenalty: 1.2 } });
  await post(server, 'chat/completions', chat);
  await post(server, 'chat/completions', { ...chat, repetition_penalty: 1 });
  const rules = server.engine.requests.map(({ sampling }) => sampling.logitRules?.repetitionPenalty);
  expect(rules).toEqual([1.2, undefined]);
});

test.each([
  ['logit_bias', { 257: 1 }],
  ['allowed_token_ids', [5, 257]],
  ['bad_words', ['  ']],
  ['priority', 1],
  ['truncate_prompt_tokens', 4097],
])('%s %j is refused against this model', async (name, value) => {
  await using server = await startServer();
  const { status, body } = await post(server, 'chat/completions', { ...chat, [name]: value });
  expect({ status, param: body.error.param }).toEqual({ status: 400, param: `body.${name}` });
  expect(body.error.message).toMatch(/257|4097|blanks|priority/);
  expect(server.engine.requests).toHaveLength(0);
});

test('salt and priority go with each choice', async () => {
  await using server = await startServer({ schedulesByPriority: true });
  await post(server, 'completions', { prompt: ['a', 'b'], cache_salt: 'pepper', priority: -3 });
  await post(server, 'chat/completions', chat);
  expect(server.engine.requests.map(({ cacheSalt, priority }) => [cacheSalt, priority])).toEqual([
    ['pepper', -3],
    ['pepper', -3],
    [null, 0],
  ]);
});

test('before min_tokens no stop string is complete, however events are cut', async () => {
  await using server = await startServer();
  for (const [min_tokens, text] of [
    [0, 'Hel'],
    [4, 'Hel'],
    [5, 'Hello, w'],
    [9, 'Hello, w'],
    [10, 'Hello, world.'],
  ] as const) {
    for (const eventSize of [1, 3, 50]) {
      server.engine.script = { text: 'Hello, world.', eventSize };
      const { body } = await post(server, 'chat/completions', { ...chat, stop: ['lo', 'or'], min_tokens });
      expect(first(body).message.content, `${min_tokens} by ${eventSize}`).toBe(text);
    }
  }
});

test('a stream of intervals has fewer events and the same text', async () => {
  await using server = await startServer();
  const events = await stream(server, 'completions', { prompt: 'x', stream_interval: 5, logprobs: 0 });
  expect(events.map((event) => first(event).text)).toEqual(['H', 'ello,', ' worl', 'd.']);
  expect(events.flatMap((event) => first(event).logprobs.tokens)).toHaveLength(14);
});

test('the server has an interval for streams that name none', async () => {
  await using server = await startServer({ streamInterval: 5 });
  const texts = (events: readonly Body[]): string[] => events.map((event) => first(event).text);
  expect(texts(await stream(server, 'completions', { prompt: 'x' }))).toEqual(['H', 'ello,', ' worl', 'd.']);
  const own = await stream(server, 'completions', { prompt: 'x', stream_interval: 1 });
  expect(texts(own).length).toBeGreaterThan(10);
  const chats = await stream(server, 'chat/completions', chat);
  expect(chats.map((event) => first(event).delta.content).filter(Boolean)).toEqual(['H', 'ello,', ' worl', 'd.']);
});

test.each([
  ['no options', {}, 1],
  ['a client that wants none', { stream_options: { include_usage: false } }, 1],
  ['a usage in each event', { stream_options: { continuous_usage_stats: true } }, 15],
])('a server can end every stream with the usage: %s', async (_, fields, numUsages) => {
  for (const forceIncludeUsage of [true, false]) {
    await using server = await startServer({ forceIncludeUsage });
    for (const [path, body] of [
      ['chat/completions', chat],
      ['completions', { prompt: 'x' }],
    ] as const) {
      const events = await stream(server, path, { ...body, ...fields });
      const withUsage = events.filter((event) => event.usage != null);
      expect(withUsage).toHaveLength(forceIncludeUsage ? numUsages : 0);
      if (!forceIncludeUsage) continue;
      expect(withUsage.at(-1)).toBe(events.at(-1));
      expect(events.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 14 } });
    }
  }
});

test('token ids on request: of the prompt once, of the output with its text', async () => {
  await using server = await startServer();
  const ids = [...bytes('Hello, world.'), endOfText];
  const prompt = bytes('<user>Hi\n<assistant>');
  const fields = { return_token_ids: true, return_prompt_text: true };
  const whole = await post(server, 'chat/completions', { ...chat, ...fields });
  expect(whole.body).toMatchObject({
    prompt_token_ids: prompt,
    prompt_text: '<user>Hi\n<assistant>',
    choices: [{ token_ids: ids }],
  });
  const events = await stream(server, 'chat/completions', { ...chat, ...fields });
  expect(events.map((event) => event.prompt_token_ids).filter(Boolean)).toEqual([prompt]);
  expect(events.flatMap((event) => first(event).token_ids ?? [])).toEqual(ids);

  const asked = { prompt: ['ab', 'c'], return_token_ids: true, max_tokens: 2 };
  const completions = await post(server, 'completions', asked);
  expect(completions.body.choices).toMatchObject([
    { prompt_token_ids: bytes('ab'), token_ids: bytes('He') },
    { prompt_token_ids: bytes('c'), token_ids: bytes('He') },
  ]);
  const chunks = await stream(server, 'completions', { ...asked, prompt: 'ab' });
  expect(chunks.map((chunk) => first(chunk).prompt_token_ids).filter(Boolean)).toEqual([bytes('ab')]);
  expect(chunks.flatMap((chunk) => first(chunk).token_ids)).toEqual(bytes('He'));
  const plain = await post(server, 'completions', { prompt: 'ab' });
  expect(first(plain.body)).not.toHaveProperty('token_ids');
});

test('logprobs can name tokens by id', async () => {
  await using server = await startServer();
  const asked = { prompt: 'ab', logprobs: 1, max_tokens: 1, return_tokens_as_token_ids: true };
  const { body } = await post(server, 'completions', asked);
  expect(first(body).logprobs).toMatchObject({ tokens: ['token_id:72'], top_logprobs: [{ 'token_id:72': -0.5 }] });
});

test('an echoed chat begins with the message it goes on with, and has its role', async () => {
  await using server = await startServer();
  const messages = [...chat.messages, { role: 'assistant', content: 'Well: ' }];
  const asked = { messages, echo: true, continue_final_message: true };
  const { body } = await post(server, 'chat/completions', asked);
  expect(first(body).message).toMatchObject({ role: 'assistant', content: 'Well: Hello, world.' });
  const events = await stream(server, 'chat/completions', asked);
  expect(events.map((event) => first(event).delta.content).join('')).toBe('Well: Hello, world.');
  const other = await post(server, 'chat/completions', { ...chat, echo: true });
  expect(first(other.body).message.content).toBe('Hello, world.');
  const user = await post(server, 'chat/completions', { ...chat, add_generation_prompt: false });
  expect(first(user.body).message.role).toBe('user');
});

test('a text that goes round in circles ends for that reason', async () => {
  await using server = await startServer();
  const detection = { max_pattern_size: 3, min_count: 4 };
  const original = server.engine.generate.bind(server.engine);
  server.engine.generate = async function* (request, signal) {
    for await (const event of original(request, signal))
      yield event.finishReason === null ? event : { ...event, finishReason: 'repetition', stopReason: null };
  };
  const { body } = await post(server, 'chat/completions', { ...chat, repetition_detection: detection });
  expect(first(body)).toMatchObject({ finish_reason: 'repetition', stop_reason: 'repetition_detected' });
  expect(server.engine.requests[0]?.sampling.repetitionDetection).toEqual({
    minPatternSize: 1,
    maxPatternSize: 3,
    minCount: 4,
  });
});

test('prompts are cut where that is asked for', async () => {
  await using server = await startServer();
  const ask = async (fields: object): Promise<number[] | undefined> => {
    expect((await post(server, 'completions', { prompt: 'abcdef', ...fields })).status).toBe(200);
    return server.engine.requests.at(-1)?.promptTokenIds.slice();
  };
  expect(await ask({ truncate_prompt_tokens: 4 })).toEqual(bytes('cdef'));
  expect(await ask({ truncate_prompt_tokens: 4, truncation_side: 'right' })).toEqual(bytes('abcd'));
  expect(await ask({ truncate_prompt_tokens: 40 })).toEqual(bytes('abcdef'));
  expect(await ask({ prompt: bytes('abcdef'), truncate_prompt_tokens: 2 })).toEqual(bytes('ef'));
  const fitted = await ask({ prompt: 'x'.repeat(50_000), truncate_prompt_tokens: -1, max_tokens: 96 });
  expect(fitted).toHaveLength(4000);
  const echoed = await post(server, 'completions', {
    prompt: 'abcdef',
    truncate_prompt_tokens: 2,
    echo: true,
    max_tokens: 0,
  });
  expect(first(echoed.body).text).toBe('ef');
});

test('the request id of the body names the answer', async () => {
  await using server = await startServer();
  const { body } = await post(server, 'chat/completions', { ...chat, request_id: 'mine-1' });
  expect(body.id).toBe('chatcmpl-mine-1');
});

test.each(['chat/completions', 'completions'] as const)('%s: no text that cannot fit is encoded', async (path) => {
  let encoded = 0;
  const codec: typeof byteCodec = {
    ...byteCodec,
    encodeText: (text, options) => {
      encoded += text.length;
      return byteCodec.encodeText(text, options);
    },
    renderChat: () => {
      throw new Error('rendered');
    },
  };
  await using server = await startServer({ codec });
  const text = 'x'.repeat(9_000_000);
  const asked = path === 'completions' ? { prompt: text } : { messages: [{ role: 'user', content: text }] };
  const { status, body } = await post(server, path, asked);
  expect({ status, param: body.error.param }).toEqual({
    status: 400,
    param: path === 'completions' ? 'body.prompt' : 'body.messages',
  });
  expect(body.error.message).toMatch(/4096 tokens.*at least 1800000 tokens/);
  expect(encoded).toBe(0);
});

test('a long text whose tokens have no bound is looked into at its beginning alone', async () => {
  let encoded = 0;
  const codec: typeof byteCodec = {
    ...byteCodec,
    maxCharsPerToken: Infinity,
    encodeText: (text, options) => {
      encoded += text.length;
      return byteCodec.encodeText(text, options);
    },
  };
  await using server = await startServer({ codec });
  const { status, body } = await post(server, 'completions', { prompt: 'x'.repeat(9_000_000) });
  expect([status, body.error.param]).toEqual([400, 'body.prompt']);
  expect(encoded).toBe(4096 * 16);
});
