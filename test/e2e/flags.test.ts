import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { client, serving, skein, TINY_CHAT, up } from '../support/cluster.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-flags-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const metric = (text: string, name: string): number =>
  Number(new RegExp(`^${name}\\{.*\\} (.*)$`, 'm').exec(text)?.[1]);

/** Random texts for requests that bring no seed. */
async function drawn(url: string): Promise<string[]> {
  const texts: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { choices } = await client(url).completions.create({
      model: 'tiny',
      prompt: 'The',
      max_tokens: 24,
      temperature: 1.5,
    });
    texts.push(choices[0]?.text ?? '');
  }
  return texts;
}

test("serve does what a config file, a template and vLLM's flags say", async () => {
  const generation = join(folder, 'generation');
  mkdirSync(generation);
  writeFileSync(join(generation, 'generation_config.json'), '{"max_new_tokens": 3}');
  const template = join(folder, 'template.jinja');
  writeFileSync(template, 'Say: {{ messages[0].content }}');
  const config = join(folder, 'skein.yaml');
  writeFileSync(
    config,
    `served-model-name: [tiny, small]\nmax_model_len: 512\ngeneration-config: ${generation}\nseed: 7\nlog-level: warn\n`,
  );
  const args = [
    'serve',
    TINY_CHAT,
    '--config',
    config,
    '--chat-template',
    template,
    '--kv-cache-dtype',
    'f32',
    '--scheduling-policy=priority',
  ];
  const start = (): ReturnType<typeof serving> =>
    serving((port) => skein([...args, '--port', String(port), '--log-level', 'info', '--disable-log-requests']));
  let first: string[];
  {
    await using served = await start();
    first = await drawn(served.url);
    const models = await client(served.url).models.list();
    expect(models.data.map(({ id }) => id)).toEqual(['tiny', 'small']);
    expect(models.data[0]).toMatchObject({ max_model_len: 512 });
    const { usage } = await client(served.url).chat.completions.create({
      model: 'small',
      messages: [{ role: 'user', content: 'x' }],
      ...{ ignore_eos: true, priority: -1 },
    });
    // What the template renders, and what the generation config allows.
    expect(usage).toMatchObject({ completion_tokens: 3 });
    expect(usage?.prompt_tokens).toBeLessThan(8);
    const text = await (await fetch(`${served.url}/metrics`)).text();
    expect(text).toMatch(/vllm:cache_config_info\{.*cache_dtype="f32"/);
    expect(served.process.output).not.toContain('"route":"/v1/completions"');
    expect(served.process.output).toContain('sized the KV cache');
    expect(served.process.output).toMatch(
      /"bytes":\d+,"seconds":[\d.]+,"megabytesPerSecond":\d+,"msg":"loaded the weights"/,
    );
  }
  await using again = await start();
  expect(await drawn(again.url)).toEqual(first);
  expect(new Set(first).size).toBeGreaterThan(1);
});

test('weights of 4 bits answer over two stages, and the topology says what they are', async () => {
  const args = ['serve', TINY_CHAT, '--served-model-name', 'tiny', '--quantization', 'int4', '--pp', '2'];
  await using served = await serving((port) => skein([...args, '--port', String(port)]));
  const { choices } = await client(served.url).chat.completions.create({
    model: 'tiny',
    messages: [{ role: 'user', content: 'What is the capital of France?' }],
  });
  expect(choices[0]?.message.content).toBe('The capital of France is Paris.');
  const topology: unknown = await (await fetch(`${served.url}/v1/skein/topology`)).json();
  expect(topology).toMatchObject({ groups: [{ quantization: 'int4' }] });
});

test('what a server lets requests ask for, and gives them unasked, is set by flags', async () => {
  const flags = ['--max-logprobs', '25', '--stream-interval', '4', '--enable-force-include-usage'];
  const args = ['serve', TINY_CHAT, '--served-model-name', 'tiny', ...flags];
  await using served = await serving((port) => skein([...args, '--port', String(port)]));
  const ask = { model: 'tiny', prompt: 'The', max_tokens: 8, temperature: 0 };
  const { choices } = await client(served.url).completions.create({ ...ask, logprobs: 25 });
  const likeliest = choices[0]?.logprobs?.top_logprobs?.map((top) => Object.keys(top).length);
  // Tokens of equal text share an entry.
  expect(Math.max(...(likeliest ?? []))).toBeGreaterThan(20);
  await expect(client(served.url).completions.create({ ...ask, logprobs: 26 })).rejects.toMatchObject({
    status: 400,
    param: 'body.logprobs',
    message: expect.stringContaining('body.logprobs: must be a whole number from 0 to 25; got 26.'),
  });
  const streamed = { ...ask, max_tokens: 33, stream: true, ignore_eos: true, return_token_ids: true } as const;
  const sizes: number[] = [];
  const usages: (number | null)[] = [];
  for await (const { choices, usage } of await client(served.url).completions.create(streamed)) {
    for (const choice of choices) sizes.push((choice as unknown as { token_ids: number[] }).token_ids.length);
    usages.push(usage?.completion_tokens ?? null);
  }
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(33);
  // Tokens that are there at once go together, so an event may hold more than it waits for.
  expect(Math.min(...sizes.slice(1, -1))).toBeGreaterThanOrEqual(4);
  expect(usages).toEqual([...sizes.map(() => null), 33]);
});

test('a model of the local cache is found by its name and revision', async () => {
  const hub = join(folder, 'hub');
  const snapshot = join(hub, 'models--acme--tiny/snapshots/0123abcd');
  mkdirSync(join(hub, 'models--acme--tiny/refs'), { recursive: true });
  cpSync(TINY_CHAT, snapshot, { recursive: true });
  writeFileSync(join(hub, 'models--acme--tiny/refs/main'), '0123abcd');
  await using served = await serving((port) =>
    skein(['serve', 'acme/tiny', '--port', String(port)], { HF_HUB_CACHE: hub }),
  );
  expect((await client(served.url).models.list()).data.map(({ id }) => id)).toEqual(['acme/tiny']);
  for (const args of [
    ['serve', 'acme/tiny', '--revision', 'v2'],
    ['serve', 'acme/other'],
    ['serve', '../../etc', '--revision', 'x'],
  ]) {
    await using refused = skein(args, { HF_HUB_CACHE: hub });
    expect(await refused.exit()).toBe(78);
    expect(refused.output).toMatch(/is no folder|has no meaning/);
  }
});

test('up passes flags on, and keys by variable', async () => {
  await using cluster = await up(['--api-key', 'k1', 'k2', '--num-gpu-blocks-override', '40', '--max_num_seqs=4']);
  const topology = await fetch(`${cluster.url}/v1/skein/topology`, { headers: { authorization: 'Bearer k2' } });
  const { groups } = (await topology.json()) as { groups: { url: string; agents: { pid: number }[] }[] };
  expect((await fetch(`${cluster.url}/v1/models`)).status).toBe(401);
  const metrics = await (await fetch(`${groups[0]?.url}/metrics`)).text();
  expect(metrics).toContain('num_gpu_blocks="40"');
  expect(metric(metrics, 'skein_transport_bytes_total')).toBeGreaterThan(0);
  expect(metrics).toMatch(/^skein_group_epoch 1$/m);
});
