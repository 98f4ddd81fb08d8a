import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { client, ROOT, type Served, serve, topology, up } from '../support/cluster.ts';

interface Question {
  readonly id: string;
  readonly heldBack: boolean;
  readonly messages: { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[];
  readonly accept: readonly string[];
}

const { questions } = JSON.parse(readFileSync(`${ROOT}examples/tiny-chat/questions.json`, 'utf8')) as {
  questions: Question[];
};

describe('two stages behind the router', () => {
  let cluster: Served;
  beforeAll(async () => {
    cluster = await up(['--pp', '2']);
  }, 90_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('answers the curl of the README about Paris', async () => {
    const readme = readFileSync(`${ROOT}README.md`, 'utf8');
    const body = /-d '(\{[\s\S]*?\})'/.exec(readme)?.[1] ?? '';
    const response = await fetch(`${cluster.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    expect(await response.text()).toContain('The capital of France is Paris.');
  });

  test('streams to the official client, in pieces, with usage', async () => {
    const stream = await client(cluster.url).chat.completions.create({
      model: 'tiny-chat',
      messages: [{ role: 'user', content: 'What is the capital of France?' }],
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.map((c) => c.choices[0]?.delta.content ?? '').join('')).toBe('The capital of France is Paris.');
    expect(chunks.filter((c) => c.choices[0]?.finish_reason).map((c) => c.choices[0]?.finish_reason)).toEqual(['stop']);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBeGreaterThan(3);
    expect(chunks.length).toBeGreaterThan(4);
  });

  test('answers at least 95 of 100 questions, greedily', async () => {
    expect(questions).toHaveLength(100);
    expect(questions.filter((q) => q.heldBack).length).toBeGreaterThanOrEqual(20);
    const openai = client(cluster.url);
    const wrong = await Promise.all(
      questions.map(async ({ id, messages, accept }) => {
        const answer = await openai.chat.completions.create({ model: 'tiny-chat', messages, max_tokens: 64 });
        const text = answer.choices[0]?.message.content ?? '';
        return accept.includes(text.trim()) ? [] : [`${id}: ${text}`];
      }),
    );
    expect(wrong.flat().length, wrong.flat().join('\n')).toBeLessThanOrEqual(5);
  }, 120_000);

  test('computes in two processes with different layers, and activations cross between them', async () => {
    const [group] = (await topology(cluster.url)).groups;
    expect(group?.ranks.map((r) => r.layers)).toEqual([expect.any(Array), expect.any(Array)]);
    const [a, b] = group?.ranks ?? [];
    expect(a?.pid).not.toBe(b?.pid);
    expect(a?.layers?.[1]).toBe(b?.layers?.[0]);
    const activations = group?.pairs.find((p) => p.from === a?.name && p.to === b?.name);
    expect(activations?.transport).toBe('shm');
    expect(activations?.bytes).toBeGreaterThan(100_000);
  });

  test('gives 32 concurrent streams the ids that one rank alone gives', async () => {
    await using single = await serve();
    const prompts = questions.slice(0, 32).map((q) => q.messages);
    const ask = async (url: string, messages: Question['messages']): Promise<string> => {
      const stream = await client(url).chat.completions.create({
        model: 'tiny-chat',
        messages,
        stream: true,
        max_tokens: 48,
      });
      let text = '';
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
      return text;
    };
    const together = await Promise.all(prompts.map((p) => ask(cluster.url, p)));
    const alone = [];
    for (const p of prompts) alone.push(await ask(single.url, p));
    expect(together).toEqual(alone);
  }, 90_000);

  test('refuses bad input with a 400 that names the field', async () => {
    const refusal = await client(cluster.url)
      .chat.completions.create({ model: 'tiny-chat', messages: [{ role: 'user', content: 'x' }], temperature: -1 })
      .catch((error: unknown) => error);
    expect(refusal).toMatchObject({ status: 400, param: 'body.temperature' });
  });
});
