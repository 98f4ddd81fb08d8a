import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { client, type Served, topology, up } from '../support/cluster.ts';
import { type Answer, sendTo } from '../support/send.ts';

const COUNT = [{ role: 'user' as const, content: 'Count from 1 to 20.' }];
const PARIS = [{ role: 'user' as const, content: 'What is the capital of France?' }];
/** Flat enough for every seed to say something else. */
const WILD = { temperature: 20, max_tokens: 16 };
const model = 'tiny-chat';

let cluster: Served;
let openai: OpenAI;
beforeAll(async () => {
  cluster = await up(['--pp', '2']);
  openai = client(cluster.url);
}, 90_000);
afterAll(() => cluster[Symbol.asyncDispose]());

const send = (path: string, body: string | null, init?: RequestInit): Promise<Answer> =>
  sendTo(cluster.url, path, body, init);

async function chatText(options: Partial<OpenAI.Chat.ChatCompletionCreateParamsNonStreaming>): Promise<string> {
  const answer = await openai.chat.completions.create({ model, messages: COUNT, temperature: 0, ...options });
  return answer.choices[0]?.message.content ?? '';
}

describe('completions', () => {
  test('text and its token ids are the same prompt, and a list is answered in its order', async () => {
    const text = 'The capital of';
    const asked = { model, prompt: text, max_tokens: 1, prompt_logprobs: 0 };
    const { choices } = JSON.parse((await send('/v1/completions', JSON.stringify(asked))).text) as {
      choices: { prompt_logprobs: (Record<string, { decoded_token: string }> | null)[] }[];
    };
    const known = choices[0]?.prompt_logprobs.slice(1).map((entry) => Object.keys(entry ?? {}).map(Number)) ?? [];
    expect(known.length).toBeGreaterThan(1);
    const first = await firstToken('The');
    const ids = [first, ...known.flat()];

    const common = { model, max_tokens: 12, temperature: 0 };
    const [asText, asIds, asList] = await Promise.all([
      openai.completions.create({ ...common, prompt: text }),
      openai.completions.create({ ...common, prompt: ids }),
      openai.completions.create({ ...common, prompt: ['Count', text] }),
    ]);
    expect(asIds.choices[0]?.text).toBe(asText.choices[0]?.text);
    expect(asIds.usage?.total_tokens).toBe(asText.usage?.total_tokens);
    expect(asList.choices.map((choice) => choice.index)).toEqual([0, 1]);
    expect(asList.choices[1]?.text).toBe(asText.choices[0]?.text);
    expect(asList.choices[0]?.text).not.toBe(asText.choices[0]?.text);
  });

  test('echo with logprobs begins with the prompt, whose first token has none', async () => {
    const prompt = 'The capital of France';
    const asked = { model, prompt, max_tokens: 6, echo: true, logprobs: 2, temperature: 0 };
    const [choice] = (await openai.completions.create(asked)).choices;
    const text = choice?.text ?? '';
    const logprobs = choice?.logprobs;
    expect(text.startsWith(prompt)).toBe(true);
    expect(logprobs?.tokens?.join('')).toBe(text);
    expect(logprobs?.token_logprobs?.[0]).toBeNull();
    expect(logprobs?.top_logprobs?.[0]).toBeNull();
    for (const [i, token] of (logprobs?.tokens ?? []).entries()) {
      expect(text.startsWith(token, logprobs?.text_offset?.[i])).toBe(true);
      if (i === 0) continue;
      expect(logprobs?.token_logprobs?.[i]).toBeLessThanOrEqual(0);
      expect(logprobs?.top_logprobs?.[i]?.[token]).toBe(logprobs?.token_logprobs?.[i]);
    }
    const without = await openai.completions.create({ ...asked, echo: false });
    expect(prompt + (without.choices[0]?.text ?? '')).toBe(text);
    expect(without.choices[0]?.logprobs?.token_logprobs).toEqual(logprobs?.token_logprobs?.slice(-6));

    let streamed = '';
    const tokens: string[] = [];
    for await (const { choices } of await openai.completions.create({ ...asked, stream: true })) {
      streamed += choices[0]?.text ?? '';
      tokens.push(...(choices[0]?.logprobs?.tokens ?? []));
    }
    expect(streamed).toBe(text);
    expect(tokens).toEqual(logprobs?.tokens);
  });

  async function firstToken(text: string): Promise<number> {
    const body = { model, prompt: `.${text}`, max_tokens: 1, prompt_logprobs: 0 };
    const { choices } = JSON.parse((await send('/v1/completions', JSON.stringify(body))).text) as {
      choices: { prompt_logprobs: (Record<string, { decoded_token: string }> | null)[] }[];
    };
    const found = Object.entries(choices[0]?.prompt_logprobs[1] ?? {}).find(
      ([, entry]) => entry.decoded_token === text,
    );
    return Number(found?.[0]);
  }
});

describe('sampling', () => {
  test('a seed says the same alone, in a crowd and with more choices; another seed something else', async () => {
    const ask = async (seed: number, n: number): Promise<string[]> =>
      (await openai.chat.completions.create({ model, messages: COUNT, ...WILD, seed, n })).choices.map(
        (choice) => choice.message.content ?? '',
      );
    const alone = await ask(7, 4);
    expect(new Set(alone).size).toBe(4);
    expect(await ask(7, 4)).toEqual(alone);
    expect(await ask(7, 1)).toEqual(alone.slice(0, 1));
    expect(await ask(8, 4)).not.toEqual(alone);
    const crowd = Array.from({ length: 24 }, (_, i) => ask(100 + i, 1));
    const inCrowd = await Promise.all([ask(7, 4), ...crowd, ask(7, 4)]);
    expect(inCrowd[0]).toEqual(alone);
    expect(inCrowd.at(-1)).toEqual(alone);
  });

  test('without a seed two answers differ', async () => {
    expect(await chatText(WILD)).not.toBe(await chatText(WILD));
  });
});

describe('an answer ends', () => {
  test.each([[[' 5']], [['4, 5, 6']], [['7', ', 6,']], [['1']], [['zzz']], [[', 1', ', 13, 14, x']]])(
    'before the stop strings %j, which no stream leaks',
    async (stop) => {
      const asked = { model, messages: COUNT, temperature: 0, max_tokens: 60, stop };
      const whole = (await openai.chat.completions.create(asked)).choices[0];
      let streamed = '';
      let finish: string | null = null;
      for await (const { choices } of await openai.chat.completions.create({ ...asked, stream: true })) {
        streamed += choices[0]?.delta.content ?? '';
        for (const text of stop) expect(streamed).not.toContain(text);
        finish = choices[0]?.finish_reason ?? finish;
      }
      expect(streamed).toBe(whole?.message.content);
      expect(finish).toBe(whole?.finish_reason);
      const endless = await chatText({ max_tokens: 60 });
      const cuts = stop.filter((text) => endless.includes(text));
      const firstEnd = Math.min(...cuts.map((text) => endless.indexOf(text) + text.length));
      const found = cuts.find((text) => endless.indexOf(text) + text.length === firstEnd);
      expect(streamed).toBe(found === undefined ? endless : endless.slice(0, firstEnd - found.length));
      expect(whole).toMatchObject({ stop_reason: found ?? null });
    },
  );

  test('on a completion before its stop string as well', async () => {
    const asked = {
      model,
      prompt: '<|im_start|>user\nCount from 1 to 20.<|im_end|>\n<|im_start|>assistant\n',
      temperature: 0,
    };
    const endless = (await openai.completions.create({ ...asked, max_tokens: 40 })).choices[0]?.text ?? '';
    const stop = endless.slice(20, 24);
    expect(stop).toHaveLength(4);
    const [whole] = (await openai.completions.create({ ...asked, max_tokens: 40, stop })).choices;
    let streamed = '';
    for await (const { choices } of await openai.completions.create({ ...asked, max_tokens: 40, stop, stream: true }))
      streamed += choices[0]?.text ?? '';
    expect(whole).toMatchObject({ text: endless.slice(0, endless.indexOf(stop)), finish_reason: 'stop' });
    expect(streamed).toBe(whole?.text);
  });

  test('at a stop token id, which is no text', async () => {
    const probe = { model, prompt: '1, 2,', max_tokens: 1, prompt_logprobs: 0 };
    const { choices } = JSON.parse((await send('/v1/completions', JSON.stringify(probe))).text) as {
      choices: { prompt_logprobs: (Record<string, { decoded_token: string }> | null)[] }[];
    };
    const comma = Number(
      Object.entries(choices[0]?.prompt_logprobs[1] ?? {}).find(([, e]) => e.decoded_token === ',')?.[0],
    );
    const body = { model, messages: COUNT, temperature: 0, stop_token_ids: [comma] };
    const answer = JSON.parse((await send('/v1/chat/completions', JSON.stringify(body))).text) as unknown;
    expect(answer).toMatchObject({
      choices: [{ message: { content: '1' }, finish_reason: 'stop', stop_reason: comma }],
      usage: { completion_tokens: 2 },
    });
  });

  test('only after all its tokens with ignore_eos, and after one with max_tokens 1', async () => {
    const body = JSON.stringify({ model, messages: PARIS, max_tokens: 40, ignore_eos: true, temperature: 0 });
    expect(JSON.parse((await send('/v1/chat/completions', body)).text)).toMatchObject({
      choices: [{ finish_reason: 'length' }],
      usage: { completion_tokens: 40 },
    });
    const one = await openai.chat.completions.create({ model, messages: PARIS, max_tokens: 1 });
    expect(one).toMatchObject({
      choices: [{ finish_reason: 'length', message: { content: 'The' } }],
      usage: { completion_tokens: 1 },
    });
  });
});

describe('the shape of an answer', () => {
  test('include_usage adds one last chunk, equal to the usage of the whole answer', async () => {
    const asked = { model, messages: COUNT, temperature: 0, max_tokens: 12 };
    const chunks = [];
    const stream = await openai.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    const { usage } = await openai.chat.completions.create(asked);
    // The first one filled the prefix cache for the second.
    const { prompt_tokens_details: _cached, ...counts } = usage ?? {};
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: counts });
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage == null && chunk.choices.length > 0)).toBe(true);
    expect(new Set(chunks.map(({ id, created, model: name }) => `${id} ${created} ${name}`)).size).toBe(1);
    const raw = await send('/v1/chat/completions', JSON.stringify({ ...asked, stream: true }));
    expect(raw.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(raw.text.endsWith('\n\ndata: [DONE]\n\n')).toBe(true);
    expect(raw.text).not.toContain('"usage"');
  });

  test('logprobs of a chat have tokens, bytes that make up the text, and the likeliest first', async () => {
    const asked = { model, messages: PARIS, temperature: 0, logprobs: true, top_logprobs: 4 };
    const [choice] = (await openai.chat.completions.create(asked)).choices;
    const content = choice?.logprobs?.content ?? [];
    expect(content.length).toBeGreaterThan(4);
    for (const { token, logprob, bytes, top_logprobs: top } of content) {
      expect(Buffer.from(bytes ?? []).toString()).toBe(token);
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top).toHaveLength(4);
      expect(top[0]).toEqual({ token, logprob, bytes });
      expect(top.map((t) => t.logprob)).toEqual(top.map((t) => t.logprob).toSorted((a, b) => b - a));
      expect(top.reduce((sum, t) => sum + Math.exp(t.logprob), 0)).toBeLessThan(1.0001);
    }
    const text = content.map(({ token }) => token).join('');
    expect(text.startsWith(choice?.message.content ?? '-')).toBe(true);

    const streamed = [];
    for await (const chunk of await openai.chat.completions.create({ ...asked, stream: true }))
      streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    expect(streamed).toEqual(content);
  });

  test.each(['Say 😀 to 世界, ñandú 👩‍👩‍👧‍👦', '🇫🇷🇫🇷🇫🇷', 'é', '￿', '\u0000\u001f"\\'])(
    'the prompt %j comes back whole',
    async (prompt) => {
      const asked = { model, prompt, echo: true, max_tokens: 8, temperature: 0 };
      const whole = (await openai.completions.create(asked)).choices[0]?.text ?? '';
      expect(whole.startsWith(prompt)).toBe(true);
      let streamed = '';
      for await (const { choices } of await openai.completions.create({ ...asked, stream: true }))
        streamed += choices[0]?.text ?? '';
      expect(streamed).toBe(whole);
      expect(await chatText({ messages: [{ role: 'user', content: prompt }], max_tokens: 8 })).not.toContain(prompt);
    },
  );

  test('models: the list, one of them, and none of another name', async () => {
    const list = await openai.models.list();
    expect(list.data).toMatchObject([
      { id: model, object: 'model', owned_by: 'skein', root: model, max_model_len: 2048 },
    ]);
    expect(await openai.models.retrieve(model)).toEqual(list.data[0]);
    await expect(openai.models.retrieve('other/model')).rejects.toMatchObject({ status: 404 });
    await expect(openai.chat.completions.create({ model: 'other', messages: PARIS })).rejects.toMatchObject({
      status: 404,
      type: 'NotFoundError',
      message: expect.stringContaining('The model `other` does not exist.') as string,
    });
  });

  test('X-Request-Id comes back if it is a plain token, else there is a new one', async () => {
    const body = JSON.stringify({ model, messages: PARIS, max_tokens: 1 });
    const id = async (sent: string | null): Promise<string | null> => {
      const headers = sent === null ? {} : { 'x-request-id': sent };
      return (await send('/v1/chat/completions', body, { headers })).headers.get('x-request-id');
    };
    expect(await id('abc-1.2:3_4')).toBe('abc-1.2:3_4');
    const made = [await id(null), await id('a b"c'), await id('x'.repeat(129))];
    for (const one of made) expect(one).toMatch(/^[\w-]{16,64}$/);
    expect(new Set(made).size).toBe(3);
  });
});

describe('a refusal', () => {
  const nested = `${'['.repeat(5000)}${']'.repeat(5000)}`;
  const chat = '/v1/chat/completions';
  const messages = '"messages":[{"role":"user","content":"x"}]';
  const refused: [path: string, body: string, param: string][] = [
    [chat, '{"messages":', 'body'],
    [chat, '', 'body'],
    [chat, '[]', 'body'],
    [chat, 'null', 'body'],
    [chat, `{${messages},"x":${nested}}`, 'body'],
    [chat, nested, 'body'],
    [chat, `{${messages},"temperature":NaN}`, 'body.temperature'],
    [chat, `{${messages},"logit_bias":{"1":-Infinity}}`, 'body.logit_bias'],
    [chat, `{${messages},"presence_penalty":2.1}`, 'body.presence_penalty'],
    [chat, `{${messages},"seed":9223372036854775808}`, 'body.seed'],
    [chat, `{${messages},"min_tokens":5,"max_tokens":4}`, 'body.min_tokens'],
    [chat, `{${messages},"priority":1}`, 'body.priority'],
    [chat, `{${messages},"allowed_token_ids":[${'1,'.repeat(100_000)}1]}`, 'body.allowed_token_ids'],
    [chat, `{${messages},"bad_words":[${'"x",'.repeat(100_000)}"x"]}`, 'body.bad_words'],
    [chat, `{${messages},"temperature":1e999}`, 'body.temperature'],
    [chat, `{${messages},"temperature":-0.1}`, 'body.temperature'],
    [chat, `{${messages},"temperature":"1"}`, 'body.temperature'],
    [chat, `{${messages},"top_p":0}`, 'body.top_p'],
    [chat, `{${messages},"top_p":1.01}`, 'body.top_p'],
    [chat, `{${messages},"top_k":-2}`, 'body.top_k'],
    [chat, `{${messages},"min_p":2}`, 'body.min_p'],
    [chat, `{${messages},"seed":1e999}`, 'body.seed'],
    [chat, `{${messages},"seed":1.5}`, 'body.seed'],
    [chat, `{${messages},"n":0}`, 'body.n'],
    [chat, `{${messages},"n":1000000}`, 'body.n'],
    [chat, `{${messages},"n":2,"temperature":0}`, 'body.n'],
    [chat, `{${messages},"max_tokens":0}`, 'body.max_tokens'],
    [chat, `{${messages},"max_tokens":-1}`, 'body.max_tokens'],
    [chat, `{${messages},"max_completion_tokens":1e300}`, 'body.max_completion_tokens'],
    [chat, `{${messages},"stop":[1]}`, 'body.stop'],
    [chat, `{${messages},"stop":""}`, 'body.stop'],
    [chat, `{${messages},"stop_token_ids":[99999]}`, 'body.stop_token_ids'],
    [chat, `{${messages},"top_logprobs":2}`, 'body.top_logprobs'],
    [chat, `{${messages},"logprobs":true,"top_logprobs":21}`, 'body.top_logprobs'],
    [chat, `{${messages},"stream":1}`, 'body.stream'],
    [chat, `{${messages},"stream_options":{"include_usage":true}}`, 'body.stream_options'],
    [chat, `{${messages},"tools":[{"type":"function"}]}`, 'body.tools'],
    [chat, `{${messages},"logit_bias":{"99999":5}}`, 'body.logit_bias'],
    [chat, `{${messages},"use_beam_search":true}`, 'body.use_beam_search'],
    [chat, '{"messages":[]}', 'body.messages'],
    [chat, '{}', 'body.messages'],
    [chat, '{"messages":[{"role":"robot","content":"x"}]}', 'body.messages.0.role'],
    [chat, '{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}', 'body.messages.0.content'],
    ['/v1/completions', '{}', 'body.prompt'],
    ['/v1/completions', '{"prompt":""}', 'body.prompt'],
    ['/v1/completions', '{"prompt":[]}', 'body.prompt'],
    ['/v1/completions', '{"prompt":[999999]}', 'body.prompt'],
    ['/v1/completions', '{"prompt":"x","logprobs":21}', 'body.logprobs'],
    ['/v1/completions', '{"prompt":"x","max_tokens":0}', 'body.max_tokens'],
  ];
  test.each(refused.map((row) => [row[1].slice(0, 90), ...row] as const))(
    'of %s is a 400 that names the field',
    async (_, path, body, param) => {
      const { status, text } = await send(path, body);
      expect(status, text).toBe(400);
      const { error } = JSON.parse(text) as { error: Record<string, unknown> };
      expect(error).toMatchObject({
        message: expect.any(String) as string,
        type: expect.any(String) as string,
        code: 400,
        param,
      });
      expect(text).not.toMatch(/\/(?:work|home|root|tmp)\/|node:|\.ts\b/);
    },
  );

  test('of a prompt or an answer longer than the context gives the numbers', async () => {
    const prompt = 'word '.repeat(4000);
    const long = await openai.completions.create({ model, prompt }).catch((error: unknown) => error);
    expect(long).toMatchObject({
      status: 400,
      message: expect.stringMatching(/2048 tokens.* [4-9]\d{3} tokens/) as string,
    });
    const greedy = await openai.completions
      .create({ model, prompt: 'x', max_tokens: 2048 })
      .catch((error: unknown) => error);
    expect(greedy).toMatchObject({ status: 400, message: expect.stringMatching(/2048 tokens.*2049 tokens/) as string });
    const stream = await openai.completions.create({ model, prompt, stream: true }).catch((error: unknown) => error);
    expect(stream).toMatchObject({ status: 400 });
  });

  test('of another method, path, type or size has its own status', async () => {
    const body = `{${messages}}`;
    const wrongMethod = await send(chat, null);
    expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await send('/v1/models', '{}')).status).toBe(405);
    expect((await send('/v1/other', body)).status).toBe(404);
    expect((await send(chat, body, { headers: { 'content-type': 'text/plain' } })).status).toBe(415);
    const big = await send(chat, `{${messages},"x":"${'x'.repeat(11 * 1024 * 1024)}"}`);
    expect(big.status).toBe(413);
    for (const text of [wrongMethod.text, big.text]) expect(JSON.parse(text)).toHaveProperty('error.message');
  });

  test('leaves the server as it was', async () => {
    expect(await chatText({ messages: PARIS })).toBe('The capital of France is Paris.');
    expect((await topology(cluster.url)).groups[0]?.ready).toBe(true);
  });
});
