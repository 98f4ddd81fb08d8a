import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { GroupTopology } from '@skein/protocol';
import { Launched, ROOT, TINY_CHAT, until } from '../support/cluster.ts';

/** Three hosts: network namespaces on one bridge of veth pairs, each with its own IPC namespace and /dev/shm, and names as
 *  LeaderWorkerSet's headless service would give them, in a hosts file. */
const HOSTS = ['skt0', 'skt1', 'skt2'];
const NAMES = ['chat-0.chat', 'chat-0-1.chat', 'chat-0-2.chat'];
const canNetns = process.getuid?.() === 0 && spawnSync('ip', ['netns', 'add', 'sktprobe']).status === 0;
if (canNetns) ip('netns', 'del', 'sktprobe');

function ip(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

let running: Launched[] = [];
const hostsFile = join(mkdtempSync(join(tmpdir(), 'skein-lws-')), 'hosts');

beforeEach(() => {
  if (!canNetns) return;
  cleanUp();
  ip('netns', 'add', 'sktsw');
  ip('-n', 'sktsw', 'link', 'add', 'br0', 'type', 'bridge');
  ip('-n', 'sktsw', 'link', 'set', 'br0', 'up');
  for (const [i, host] of HOSTS.entries()) {
    ip('netns', 'add', host);
    ip('-n', 'sktsw', 'link', 'add', `p${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host);
    ip('-n', 'sktsw', 'link', 'set', `p${i}`, 'master', 'br0', 'up');
    ip('-n', host, 'addr', 'add', `10.77.0.${i + 1}/24`, 'dev', 'eth0');
    ip('-n', host, 'link', 'set', 'eth0', 'up');
    ip('-n', host, 'link', 'set', 'lo', 'up');
  }
  writeFileSync(
    hostsFile,
    ['127.0.0.1 localhost', ...NAMES.map((name, i) => `10.77.0.${i + 1} ${name}`)].join('\n') + '\n',
  );
});

afterEach(async () => {
  await Promise.all(running.map((p) => p[Symbol.asyncDispose]()));
  running = [];
  if (canNetns) cleanUp();
});

function cleanUp(): void {
  for (const name of [...HOSTS, 'sktsw']) spawnSync('ip', ['netns', 'del', name]);
}

function startNode(worker: number, key: string | null): Launched {
  const script = `mount --bind ${hostsFile} /etc/hosts && mount -t tmpfs shm /dev/shm && exec "$@"`;
  const command = [
    `${ROOT}packages/cli/bin/skein`,
    'node',
    TINY_CHAT,
    '--host',
    '0.0.0.0',
    '--port',
    '8080',
    '--threads',
    '1',
  ];
  const node = new Launched(
    'ip',
    ['netns', 'exec', HOSTS[worker] ?? '', 'unshare', '--mount', '--ipc', 'sh', '-c', script, 'sh', ...command],
    {
      LWS_LEADER_ADDRESS: NAMES[0] ?? '',
      LWS_GROUP_SIZE: '3',
      LWS_WORKER_INDEX: String(worker),
      ...(key === null ? {} : { SKEIN_GROUP_KEY: key }),
    },
  );
  running.push(node);
  return node;
}

/** Asks the leader from inside its own namespace. */
function ask(path: string, body: unknown = null): { readonly status: number; readonly text: string } {
  const data = body === null ? [] : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)];
  const result = spawnSync(
    'ip',
    [
      'netns',
      'exec',
      'skt0',
      'curl',
      '-s',
      '-m',
      '20',
      '-w',
      '\n%{http_code}',
      ...data,
      `http://10.77.0.1:8080${path}`,
    ],
    { encoding: 'utf8' },
  );
  const lines = result.stdout.split('\n');
  return { status: Number(lines.pop()), text: lines.join('\n') };
}

function vethBytes(host: string): number {
  const { stdout } = spawnSync('ip', ['netns', 'exec', host, 'cat', '/sys/class/net/eth0/statistics/tx_bytes'], {
    encoding: 'utf8',
  });
  return Number(stdout);
}

const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
];

test.skipIf(!canNetns).each(ORDERS)(
  'three hosts, started in the order %i %i %i, form a group over TCP and answer',
  async (...order) => {
    const withKey = ORDERS.findIndex((o) => o.join() === order.join()) % 2 === 0;
    for (const worker of order) {
      startNode(worker, withKey ? 'correct horse' : null);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    await until('the group to be ready', 60_000, () => ask('/readyz').status === 200).catch((error: Error) => {
      throw new Error(`${error.message}\n${running.map((p) => p.output.slice(-1500)).join('\n---\n')}`);
    });
    const before = HOSTS.map(vethBytes);
    const answer = ask('/v1/chat/completions', {
      messages: [{ role: 'user', content: 'What is the capital of France?' }],
    });
    expect(answer.text).toContain('The capital of France is Paris.');
    const [group] = (JSON.parse(ask('/v1/skein/topology').text) as { groups: GroupTopology[] }).groups;
    expect(group?.ranks).toHaveLength(3);
    expect(group?.pairs.map((p) => p.transport)).toEqual(['tcp', 'tcp', 'tcp']);
    expect(group?.warnings.some((w) => w.includes('SKEIN_GROUP_KEY'))).toBe(!withKey);
    for (const [i, host] of HOSTS.entries()) expect(vethBytes(host) - (before[i] ?? 0)).toBeGreaterThan(1000);
    const sent = group?.pairs[0]?.bytes ?? 0;
    expect(vethBytes('skt0')).toBeGreaterThan(sent);
  },
  90_000,
);

test.skipIf(!canNetns)(
  'a worker with another group key is refused by name and ends with a configuration error',
  async () => {
    startNode(0, 'one key');
    startNode(1, 'one key');
    const stranger = startNode(2, 'another key');
    expect(await stranger.exit()).toBe(78);
    expect(stranger.output).toContain('SKEIN_GROUP_KEY');
  },
  60_000,
);
