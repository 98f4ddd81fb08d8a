import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  client,
  freePort,
  type Launched,
  ROOT,
  type Served,
  serve,
  skein,
  TINY_CHAT,
  topology,
  until,
  untilReady,
  up,
} from '../support/cluster.ts';

interface Question {
  readonly messages: { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[];
}

const { questions } = JSON.parse(readFileSync(`${ROOT}examples/tiny-chat/questions.json`, 'utf8')) as {
  questions: Question[];
};

/** What samples in each way that crosses ranks in another form: choices alone, whole logits, counted penalties. */
const WAYS = [
  { temperature: 0 },
  { temperature: 1.3, seed: 7 },
  { temperature: 1.1, seed: 8, top_k: 5 },
  { temperature: 1.2, seed: 9, top_p: 0.9 },
  { temperature: 0, logprobs: true, top_logprobs: 3 },
  { temperature: 0.9, seed: 10, presence_penalty: 1, frequency_penalty: 0.5, logit_bias: { '17': 3 } },
];

/** Text and logprobs of every way over some questions, all at once. */
async function answers(url: string): Promise<unknown[]> {
  const openai = client(url);
  const asked = WAYS.flatMap((way, i) =>
    questions.slice(i * 3, i * 3 + 3).map(({ messages }) => ({ messages, ...way })),
  );
  return Promise.all(
    asked.map(async (ask) => {
      const { choices } = await openai.chat.completions.create({ model: 'tiny-chat', max_tokens: 24, ...ask });
      return [choices[0]?.message.content, choices[0]?.logprobs];
    }),
  );
}

let wanted: unknown[];
beforeAll(async () => {
  await using one = await serve();
  wanted = await answers(one.url);
});

// tiny-chat has 8 query heads, 4 key-value heads, 6 layers and a vocabulary of 2048.
test.each([
  ['two ranks share each layer', () => serve(['--tensor-parallel-size', '2']), [[2, 1, 1]]],
  ['three do, unevenly', () => serve(['--tp', '3', '--threads', '1']), [[3, 1, 1]]],
  ['more than there are key-value heads', () => serve(['--tp', '8', '--threads', '1']), [[8, 1, 1]]],
  ['ranks and uneven stages of one agent', () => serve(['--tp', '2', '--pp', '4', '--threads', '1']), [[2, 4, 1]]],
  ['a cluster of both, twice', () => up(['--tp', '2', '--pp', '2', '--dp', '2', '--threads', '1']), [[2, 2, 2]]],
] as const)('%s: every answer is that of one rank', async (_, start, [[tensor, stages, replicas]]) => {
  await using served = await start();
  expect(await answers(served.url)).toEqual(wanted);
  const [group] = (await topology(served.url)).groups;
  const ranks = group?.ranks ?? [];
  expect(ranks.map(({ rankIndex }) => rankIndex)).toEqual([...Array(tensor * stages * replicas).keys()]);
  for (const [field, size] of [
    ['tensorRank', tensor],
    ['stage', stages],
    ['replica', replicas],
  ] as const)
    expect(new Set(ranks.map((rank) => rank[field]))).toEqual(new Set(Array(size).keys()));
  // Each rank of a stage talks with all others of it.
  const [first, second] = ranks;
  const exchanged = group?.pairs.find(({ from, to }) => from === first?.name && to === second?.name);
  expect(exchanged?.bytes).toBeGreaterThan(10_000);
});

test('ranks of two pods with different thread counts share each layer', async () => {
  const [port, natsPort] = [await freePort(), await freePort()];
  const pod = (workerIndex: number, ...flags: string[]): Launched =>
    skein(['node', TINY_CHAT, '--tp', '2', '--nats-port', String(natsPort), ...flags], {
      LWS_LEADER_ADDRESS: 'pods-0.localhost',
      LWS_GROUP_SIZE: '2',
      LWS_WORKER_INDEX: String(workerIndex),
    });
  await using leader = pod(0, '--pp', '1', '--threads', '1', '--port', String(port));
  await using worker = pod(1, '--pp', '1', '--threads', '2');
  const url = `http://127.0.0.1:${port}`;
  await untilReady(url, leader);
  expect(worker.ended).toBe(false);
  expect(await answers(url)).toEqual(wanted);
});

test('stages of two ranks that are timed before they serve: every answer is that of one rank', async () => {
  // Almost all is on the first stage, so that the second gets more unless this machine is busy with something else just then.
  const split = ['--pp', '2', '--pp-layer-partition', '5.5,0.5'];
  await using served = await serve([...split, '--tp', '2', '--threads', '1', '--pp-measure-stages']);
  expect(await answers(served.url)).toEqual(wanted);
  const timed = /"microseconds":\[[1-9][\d.]*,[1-9][\d.]*\],.*"becomes":\[([\d.]+),[\d.]+\],"msg":"timed the stages"/;
  const end = Number(timed.exec(served.process.output)?.[1]);
  const [group] = (await topology(served.url)).groups;
  expect(group?.epoch).toBe(2);
  expect(group?.ranks.map(({ layers }) => layers)).toEqual([
    [0, end],
    [0, end],
    [end, 6],
    [end, 6],
  ]);
});

describe('two replicas of two ranks behind one leader', () => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(['--tp', '2', '--dp', '2', '--threads', '1']);
    // One replica is enough to be ready.
    await until('both replicas', 30_000, async () => (await topology(served.url)).groups[0]?.ready === true);
  });
  afterAll(() => served[Symbol.asyncDispose]());

  const requestsOf = async (engine: number): Promise<number> => {
    const text = await (await fetch(`${served.url}/metrics`)).text();
    const line = new RegExp(`^vllm:request_success_total\\{(?=.*engine="${engine}")(?=.*"length").*\\} (\\d+)$`, 'm');
    return Number(line.exec(text)?.[1] ?? NaN);
  };
  const ask = async (headers: Record<string, string>): Promise<Response> =>
    fetch(`${served.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ prompt: 'The', max_tokens: 3, ignore_eos: true }),
    });

  test('a request goes to the replica that its header names', async () => {
    for (const engine of [1, 1, 0, 1]) {
      const before = await requestsOf(engine);
      expect((await ask({ 'X-data-parallel-rank': String(engine) })).status).toBe(200);
      expect(await requestsOf(engine)).toBe(before + 1);
    }
    for (const bad of ['2', '-1', 'one']) {
      const refused = await ask({ 'X-data-parallel-rank': bad });
      expect(refused.status).toBe(400);
      expect(await refused.text()).toContain('must be a whole number below 2, the data-parallel size');
    }
  });

  test('others are spread over both', async () => {
    const before = [await requestsOf(0), await requestsOf(1)];
    await Promise.all(Array.from({ length: 16 }, () => ask({})));
    expect(await requestsOf(0)).toBeGreaterThan((before[0] ?? 0) + 3);
    expect(await requestsOf(1)).toBeGreaterThan((before[1] ?? 0) + 3);
  });

  test('a killed rank stops its replica alone, and its streams go on', async () => {
    const started: string[] = [];
    const stream = async (replica: number): Promise<string> => {
      let text = '';
      const events = await client(served.url).completions.create(
        { model: 'tiny-chat', prompt: 'The', max_tokens: 120, temperature: 0, stream: true, ...{ ignore_eos: true } },
        { headers: { 'X-data-parallel-rank': String(replica) } },
      );
      for await (const { choices } of events) {
        text += choices[0]?.text ?? '';
        started[replica] = text;
      }
      return text;
    };
    const whole = await stream(0);
    started.length = 0;
    const running = Promise.all([stream(0), stream(1)]);
    await until('both streams', 10_000, () => started[0] !== undefined && started[1] !== undefined);
    const before = (await topology(served.url)).groups[0]?.ranks ?? [];
    const victim = before.find(({ replica, tensorRank }) => replica === 1 && tensorRank === 1);
    process.kill(victim?.pid ?? 0, 'SIGKILL');
    expect(await running).toEqual([whole, whole]);
    await until('both replicas again', 30_000, async () => (await topology(served.url)).groups[0]?.ready === true);
    const after = (await topology(served.url)).groups[0]?.ranks ?? [];
    expect(after.map(({ pid }, i) => pid === before[i]?.pid)).toEqual([true, true, true, false]);
  });
});

test.each([
  [['--tp', '9'], 'ERR_TENSOR_SPLIT', '--tensor-parallel-size is 9, and there are 8 heads'],
  [['--tp', '2', '--pp', '7'], 'ERR_STAGE_SPLIT', '6 layers cannot be split over 7 pipeline stages'],
] as const)('what cannot be is said before anything starts: %j', async (flags, code, says) => {
  await using refused = skein(['serve', TINY_CHAT, '--port', '0', ...flags]);
  expect(await refused.exit()).toBe(78);
  expect(refused.output).toContain(code);
  expect(refused.output).toContain(says);
});

test('pods that cannot have equally many ranks are refused', async () => {
  await using refused = skein(['node', TINY_CHAT, '--tp', '2', '--pp', '2'], {
    LWS_LEADER_ADDRESS: 'x-0.localhost',
    LWS_GROUP_SIZE: '3',
    LWS_WORKER_INDEX: '0',
  });
  expect(await refused.exit()).toBe(78);
  expect(refused.output).toContain('tensor x pipeline x data parallel is 2 x 2 x 1 = 4 ranks, and 3 pods');
});
