import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { client, ROOT, serve } from '../support/cluster.ts';

interface Question {
  readonly id: string;
  readonly messages: { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[];
  readonly accept: readonly string[];
}

const { questions } = JSON.parse(readFileSync(`${ROOT}examples/tiny-chat/questions.json`, 'utf8')) as {
  questions: Question[];
};

test.each(['int8', 'fp8_e4m3'])(
  'with --kv-cache-dtype %s tiny-chat answers at least 95 of 100 questions',
  async (dtype) => {
    await using served = await serve(['--kv-cache-dtype', dtype]);
    const openai = client(served.url);
    const wrong = await Promise.all(
      questions.map(async ({ id, messages, accept }) => {
        const answer = await openai.chat.completions.create({ model: 'tiny-chat', messages, max_tokens: 64 });
        const text = answer.choices[0]?.message.content ?? '';
        return accept.includes(text.trim()) ? [] : [`${id}: ${text}`];
      }),
    );
    expect(wrong.flat().length, wrong.flat().join('\n')).toBeLessThanOrEqual(5);
  },
  60_000,
);
