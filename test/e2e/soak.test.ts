import { readFileSync } from 'node:fs';
import type OpenAI from 'openai';
import { expect, test } from 'vitest';
import { client, ROOT, serve, topology, until, up } from '../support/cluster.ts';

/** `SOAK_SECONDS=600 npm test -- test/e2e/soak.test.ts` soaks for longer. */
const SECONDS = Number(process.env['SOAK_SECONDS'] ?? 5);
const STREAMS = 32;

type Chat = Omit<OpenAI.Chat.ChatCompletionCreateParamsNonStreaming, 'model' | 'stream'>;
type Chunk = OpenAI.Chat.ChatCompletionChunk;

interface Choice {
  readonly text: string;
  readonly finish: string | null;
  /** Tokens and logprobs, where asked for. */
  readonly logprobs: unknown[];
}

const { questions } = JSON.parse(readFileSync(`${ROOT}examples/tiny-chat/questions.json`, 'utf8')) as {
  questions: { messages: OpenAI.Chat.ChatCompletionMessageParam[] }[];
};

/** Each kind of request with each of some questions. Every one is greedy or has a seed, so its answer is known. */
const mix: Chat[] = questions.slice(0, 16).flatMap(({ messages }, i): Chat[] => [
  { messages, temperature: 0, max_tokens: 48 },
  { messages, temperature: 8, seed: i, max_tokens: 40, top_p: 0.9 },
  { messages, temperature: 20, seed: 1000 + i, max_tokens: 24, n: 3 },
  { messages, temperature: 0, max_tokens: 48, stop: ['is', 'France', ', 5'] },
  { messages, temperature: 4, seed: -i, max_tokens: 24, logprobs: true, top_logprobs: 3 },
  {
    messages: [...messages, { role: 'assistant', content: 'Count 🦆 '.repeat(30 * (i % 4)) }, ...messages],
    temperature: 0,
    max_tokens: 16,
  },
]);

test(
  `${STREAMS} streams at once for ${SECONDS} s give what one rank gives each request alone`,
  async () => {
    await using single = await serve();
    await using cluster = await up(['--pp', '2']);
    const expected: Choice[][] = [];
    for (const request of mix) expected.push(await whole(single.url, request));
    const texts = new Set(expected.flat().map((choice) => choice.text));
    expect(texts.size).toBeGreaterThan(mix.length / 2);

    const endMs = performance.now() + SECONDS * 1000;
    let next = 0;
    const wrong: string[] = [];
    const run = async (): Promise<void> => {
      while (performance.now() < endMs) {
        const index = next++ % mix.length;
        const got = await streamed(cluster.url, mix[index] ?? { messages: [] }).catch((error: unknown) =>
          String(error),
        );
        const [is, shouldBe] = [JSON.stringify(got), JSON.stringify(expected[index])];
        if (is !== shouldBe) wrong.push(`${index}: ${is}, not ${shouldBe}`);
      }
    };
    await Promise.all(Array.from({ length: STREAMS }, run));

    expect(wrong.slice(0, 3), `${wrong.length} of ${next}`).toEqual([]);
    expect(next).toBeGreaterThan(mix.length);
    const [group] = (await topology(cluster.url)).groups;
    expect(group).toMatchObject({ ready: true, epoch: 1 });
    await until('the group to be idle', 2000, async () => {
      const text = await (await fetch(`${group?.url}/metrics`)).text();
      const names = ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc'];
      return names.every((name) => new RegExp(`^vllm:${name}\\{.*\\} 0$`, 'm').test(text));
    });
  },
  120_000 + SECONDS * 1000,
);

async function whole(url: string, request: Chat): Promise<Choice[]> {
  const answer = await client(url).chat.completions.create({ ...request, model: 'tiny-chat' });
  return answer.choices.map(({ message, finish_reason: finish, logprobs }) => ({
    text: message.content ?? '',
    finish,
    logprobs: logprobs?.content ?? [],
  }));
}

async function streamed(url: string, request: Chat): Promise<Choice[]> {
  const choices = Array.from({ length: request.n ?? 1 }, () => ({
    text: '',
    finish: null as string | null,
    logprobs: [] as unknown[],
  }));
  const stream: AsyncIterable<Chunk> = await client(url).chat.completions.create({
    ...request,
    model: 'tiny-chat',
    stream: true,
  });
  for await (const { choices: parts } of stream) {
    for (const { index, delta, finish_reason: finish, logprobs } of parts) {
      const choice = choices[index];
      if (!choice) throw new Error(`choice ${index} of ${choices.length}`);
      if (choice.finish !== null) throw new Error(`choice ${index} goes on after its end`);
      choice.text += delta.content ?? '';
      choice.finish = finish;
      choice.logprobs.push(...(logprobs?.content ?? []));
    }
  }
  return choices;
}
