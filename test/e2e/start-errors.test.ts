import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { freePort, serving, skein, TINY_CHAT } from '../support/cluster.ts';

const EXIT_CONFIG = 78;
const folder = mkdtempSync(join(tmpdir(), 'skein-broken-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of the model with one thing broken. */
function broken(name: string, damage: (dir: string) => void): string {
  const dir = join(folder, name);
  cpSync(TINY_CHAT, dir, { recursive: true });
  damage(dir);
  return dir;
}

const place = (index: number, size = 2): Readonly<Record<string, string>> => ({
  LWS_LEADER_ADDRESS: 'broken-0.broken.localhost',
  LWS_GROUP_SIZE: String(size),
  LWS_WORKER_INDEX: String(index),
});

const noTokenizer = broken('no-tokenizer', (dir) => rmSync(join(dir, 'tokenizer.json')));
const oddTokenizer = broken('odd-tokenizer', (dir) =>
  writeFileSync(join(dir, 'tokenizer.json'), '{"added_tokens": 5}'),
);
const noConfig = broken('no-config', (dir) => rmSync(join(dir, 'config.json')));
const cutShort = broken('cut-short', (dir) => truncateSync(join(dir, 'model.safetensors'), 100_000));
const notFinite = broken('not-finite', (dir) => {
  const file = join(dir, 'model.safetensors');
  const bytes = readFileSync(file);
  const headerBytes = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { data_offsets: [number] }>;
  // A NaN in bf16.
  bytes.writeUInt16LE(0x7fc0, 8 + headerBytes + (header['model.layers.0.mlp.up_proj.weight']?.data_offsets[0] ?? NaN));
  writeFileSync(file, bytes);
});
const badIndex = broken('bad-index', (dir) => {
  rmSync(join(dir, 'model.safetensors'));
  writeFileSync(join(dir, 'model.safetensors.index.json'), '{"weight_map": {"a": "gone.safetensors"}}');
});

interface Mistake {
  readonly what: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly code: string;
  readonly says: string;
}

const mistakes: readonly Mistake[] = [
  ...['serve', 'router'].map((command): Mistake => ({
    what: `${command} with an unknown log level`,
    args: command === 'serve' ? ['serve', TINY_CHAT, '--port', '0'] : ['router', '--port', '0'],
    env: { SKEIN_LOG_LEVEL: 'nonsense' },
    code: 'ERR_VARIABLE',
    says: 'SKEIN_LOG_LEVEL is "nonsense"; choose trace, debug, info, warn, error, fatal or silent',
  })),
  {
    what: 'an unknown log format',
    args: ['serve', TINY_CHAT, '--port', '0'],
    env: { SKEIN_LOG_FORMAT: 'xml' },
    code: 'ERR_VARIABLE',
    says: 'SKEIN_LOG_FORMAT is "xml"; choose json or text',
  },
  ...(
    [
      [noTokenizer, 'ERR_TOKENIZER_FILE', 'tokenizer.json is missing'],
      [oddTokenizer, 'ERR_TOKENIZER_FILE', 'tokenizer.json cannot be used: added_tokens:'],
      [noConfig, 'ERR_MODEL_CONFIG', 'no-config/config.json'],
      [cutShort, 'ERR_CHECKPOINT', 'model.safetensors'],
      [badIndex, 'ERR_CHECKPOINT', 'gone.safetensors'],
    ] as const
  ).flatMap(([dir, code, says]): Mistake[] => [
    { what: `serve: ${code} of ${basename(dir)}`, args: ['serve', dir, '--port', '0'], code, says },
    {
      what: `node: ${code} of ${basename(dir)}`,
      args: ['node', dir, '--port', '0', '--nats-port', '0'],
      env: place(0),
      code,
      says,
    },
  ]),
  {
    what: 'weights that a rank cannot quantize',
    args: ['serve', notFinite, '--port', '0', '--quantization', 'int8'],
    code: 'ERR_CHECKPOINT',
    says: "tensor 'model.layers.0.mlp.up_proj.weight'",
  },
  {
    what: 'a worker with a broken checkpoint',
    args: ['node', badIndex],
    env: place(1),
    code: 'ERR_CHECKPOINT',
    says: 'gone.safetensors',
  },
  {
    what: 'more stages than layers',
    args: ['node', TINY_CHAT, '--port', '0', '--nats-port', '0'],
    env: place(0, 50),
    code: 'ERR_STAGE_SPLIT',
    says: 'cannot be split over 50 pipeline stages',
  },
  {
    what: 'a KV cache without room for a block',
    args: ['serve', TINY_CHAT, '--port', '0', '--kv-cache-memory-bytes', '100'],
    code: 'ERR_KV_CACHE',
    says: 'a KV cache of 100 bytes holds no block',
  },
  ...[0, 1].map((index): Mistake => ({
    what: `node ${index} with a broker that is no URL`,
    args: ['node', TINY_CHAT, '--port', '0'],
    env: { ...place(index), SKEIN_NATS_URL: 'banana' },
    code: 'ERR_ADDRESS',
    says: 'SKEIN_NATS_URL: \\"banana\\" is no NATS server; write it as nats://host:port',
  })),
  {
    what: 'a router with a broker that is no URL',
    args: ['router', '--port', '0'],
    env: { SKEIN_NATS_URL: 'http://127.0.0.1:4222' },
    code: 'ERR_ADDRESS',
    says: 'write it as nats://host:port',
  },
];

test.concurrent.each(mistakes)('$what: one line and exit 78', async ({ args, env, code, says }) => {
  await using started = skein(args, { SKEIN_LOG_FORMAT: 'json', ...env });
  expect(await started.exit(), started.output).toBe(EXIT_CONFIG);
  expect(started.output).toContain(says.replace(/(?<!\\)"/g, '\\"'));
  expect(started.output).not.toMatch(/\n\s+at /);
  const last = JSON.parse(started.output.trim().split('\n').at(-1) ?? '') as unknown;
  expect(last).toMatchObject({ level: 60, code });
});

test.each([
  ['a broken model', ['--model', badIndex], 'ERR_CHECKPOINT'],
  ['more stages than layers', ['--pp', '9'], 'ERR_STAGE_SPLIT'],
])('up ends with %s instead of starting a part again', async (_, args, code) => {
  await using started = skein(['up', '--port', String(await freePort()), ...args], { SKEIN_LOG_FORMAT: 'json' });
  expect(await started.exit(), started.output).toBe(EXIT_CONFIG);
  expect(started.output).toContain(`"code":"${code}"`);
  expect(started.output).not.toContain('starting it again');
});

test('a port that is taken ends serve and up with its number, whoever has it', async () => {
  await using other = await serving((port) => skein(['serve', TINY_CHAT, '--port', String(port)]));
  const port = new URL(other.url).port;
  for (const args of [['serve', TINY_CHAT], ['up']]) {
    await using started = skein([...args, '--port', port]);
    expect(await started.exit(), started.output).toBe(EXIT_CONFIG);
    expect(started.output).toContain(`127.0.0.1:${port} is taken; choose another with --port`);
    expect(started.output).not.toContain('ready in');
  }
});
