import { afterEach, expect, test } from 'vitest';
import type { GroupTopology } from '@skein/protocol';
import { type Launched, ROOT, TINY_CHAT, until } from '../support/cluster.ts';
import { canNetns, NetworkHosts, type NetworkPlan } from '../support/network-hosts.ts';

const PORT = 8080;

let hosts: NetworkHosts | null = null;

afterEach(async () => {
  await hosts?.[Symbol.asyncDispose]();
  hosts = null;
});

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => (i === 0 ? 'chat-0.chat' : `chat-0-${i}.chat`));
}

function makeHosts(plan: NetworkPlan): NetworkHosts {
  hosts = new NetworkHosts(plan);
  return hosts;
}

interface MemberOptions {
  readonly size: number;
  readonly key: string | null;
  readonly args?: readonly string[];
  /** See NetworkHosts.start. */
  readonly nameserver?: string;
}

function startMember(at: NetworkHosts, worker: number, command: readonly string[], of: MemberOptions): Launched {
  return at.start(worker, [`${ROOT}packages/cli/bin/skein`, ...command, ...(of.args ?? [])], {
    env: {
      LWS_LEADER_ADDRESS: 'chat-0.chat',
      LWS_GROUP_SIZE: String(of.size),
      LWS_WORKER_INDEX: String(worker),
      ...(of.key === null ? {} : { SKEIN_GROUP_KEY: of.key }),
      // A process that ends waits for the system's resolver.
      RES_OPTIONS: 'timeout:1 attempts:1',
    },
    ...(of.nameserver === undefined ? {} : { nameserver: of.nameserver }),
  });
}

function startNode(at: NetworkHosts, worker: number, of: MemberOptions): Launched {
  const host = at.address(0).includes(':') ? '::' : '0.0.0.0';
  return startMember(at, worker, ['node', TINY_CHAT, '--host', host, '--port', `${PORT}`, '--threads', '1'], of);
}

/** Asks the leader from inside its own namespace. */
function ask(at: NetworkHosts, path: string, body: unknown = null): { readonly status: number; readonly text: string } {
  const data = body === null ? [] : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)];
  const address = at.address(0);
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${PORT}${path}`;
  const lines = at.run(0, ['curl', '-s', '-g', '-m', '20', '-w', '\n%{http_code}', ...data, url]).split('\n');
  return { status: Number(lines.pop()), text: lines.join('\n') };
}

async function ready(at: NetworkHosts): Promise<void> {
  await until('the group to be ready', 60_000, () => ask(at, '/readyz').status === 200).catch((error: Error) => {
    throw new Error(`${error.message}\n${at.outputs}`);
  });
}

function capitalOfFrance(at: NetworkHosts): string {
  return ask(at, '/v1/chat/completions', {
    messages: [{ role: 'user', content: 'What is the capital of France?' }],
  }).text;
}

function topologyOf(at: NetworkHosts): GroupTopology {
  const [group] = (JSON.parse(ask(at, '/v1/skein/topology').text) as { groups: GroupTopology[] }).groups;
  if (!group) throw new Error('no group');
  return group;
}

function sentBytes(at: NetworkHosts, index: number): number {
  return Number(at.run(index, ['cat', '/sys/class/net/eth0/statistics/tx_bytes']));
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
    const at = makeHosts({ names: names(3) });
    const withKey = ORDERS.findIndex((o) => o.join() === order.join()) % 2 === 0;
    for (const worker of order) {
      startNode(at, worker, { size: 3, key: withKey ? 'correct horse' : null });
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    await ready(at);
    const before = [0, 1, 2].map((index) => sentBytes(at, index));
    expect(capitalOfFrance(at)).toContain('The capital of France is Paris.');
    const group = topologyOf(at);
    expect(group.ranks).toHaveLength(3);
    expect(group.pairs.map((p) => p.transport)).toEqual(['tcp', 'tcp', 'tcp']);
    expect(group.warnings.some((w) => w.includes('SKEIN_GROUP_KEY'))).toBe(!withKey);
    for (const index of [0, 1, 2]) expect(sentBytes(at, index) - (before[index] ?? 0)).toBeGreaterThan(1000);
    expect(sentBytes(at, 0)).toBeGreaterThan(group.pairs[0]?.bytes ?? 0);
  },
  90_000,
);

test.skipIf(!canNetns)(
  'a worker with another group key is refused by name and ends with a configuration error',
  async () => {
    const at = makeHosts({ names: names(3) });
    startNode(at, 0, { size: 3, key: 'one key' });
    startNode(at, 1, { size: 3, key: 'one key' });
    const stranger = startNode(at, 2, { size: 3, key: 'another key' });
    expect(await stranger.exit()).toBe(78);
    expect(stranger.output).toContain('SKEIN_GROUP_KEY');
  },
  60_000,
);

test.skipIf(!canNetns).each(['IPv4', 'IPv6'] as const)(
  'six hosts of %s alone form TP 2 x PP 3 and answer, and the topology has their matrix',
  async (family) => {
    const at = makeHosts({ names: names(6), family });
    for (let worker = 5; worker >= 0; worker--)
      startNode(at, worker, { size: 6, key: 'correct horse', args: ['--tp', '2', '--pp', '3'] });
    await ready(at);
    expect(capitalOfFrance(at)).toContain('The capital of France is Paris.');
    const { network, pairs } = topologyOf(at);
    expect(pairs.every((p) => p.transport === 'tcp')).toBe(true);
    expect(network?.faults).toEqual([]);
    expect(network?.agents.map(({ interface: name, address }) => `${name} ${address}`)).toEqual(
      Array.from({ length: 6 }, (_, i) => `eth0 ${at.address(i)}`),
    );
    expect(network?.pairs).toHaveLength(30);
    for (const pair of network?.pairs ?? []) {
      expect(pair).toMatchObject({ fault: null, packetBytes: 1500 });
      expect(pair.rttUs).toBeGreaterThan(0);
      expect(pair.bytesPerSecond).toBeGreaterThan(0);
    }
  },
  120_000,
);

test.skipIf(!canNetns)(
  'hosts that meet over IPv6 keep to it where their IPv4 leads nowhere',
  async () => {
    const at = makeHosts({ names: names(2), family: 'IPv6' });
    for (const worker of [0, 1]) {
      at.ip(worker, 'addr', 'add', `10.99.${worker}.1/32`, 'dev', 'eth0');
      startNode(at, worker, { size: 2, key: null });
    }
    await ready(at);
    expect(capitalOfFrance(at)).toContain('The capital of France is Paris.');
  },
  90_000,
);

test.skipIf(!canNetns)(
  'a group whose packets vanish is refused with the fault, and forms once it is mended',
  async () => {
    const at = makeHosts({ names: names(2) });
    // What is larger than the port takes is dropped without a word.
    at.switchIp('link', 'set', 'p1', 'mtu', '1400');
    const leader = startNode(at, 0, { size: 2, key: null });
    startNode(at, 1, { size: 2, key: null });
    await until('the fault to be told', 40_000, () =>
      leader.output.includes('the group could not be formed: preflight'),
    );
    expect(leader.output).toMatch(
      /packets of 1500 bytes between worker 0 .* and worker 1 .* vanish, those of 1400 cross/,
    );
    expect(topologyOf(at).network?.faults).toHaveLength(1);
    at.switchIp('link', 'set', 'p1', 'mtu', '1500');
    await ready(at);
    expect(topologyOf(at).network?.faults).toEqual([]);
    // Doctors may look in while the group runs.
    const doctors = [0, 1].map((worker) => startMember(at, worker, ['doctor', '--wait', '30'], { size: 2, key: null }));
    for (const doctor of doctors) {
      expect(await doctor.exit(), doctor.output).toBe(0);
      expect(doctor.output).toContain('every pair of hosts is well');
    }
    expect(ask(at, '/readyz').status).toBe(200);
  },
  120_000,
);

test.skipIf(!canNetns)('a worker says early why it cannot find or reach its leader, and goes on trying', async () => {
  const at = makeHosts({ names: names(4) });
  // A neighbour that takes every packet and answers none.
  at.ip(1, 'neigh', 'add', '10.77.0.53', 'lladdr', '02:00:00:00:00:53', 'dev', 'eth0');
  at.ip(2, 'route', 'add', 'unreachable', at.address(0));
  at.ip(3, 'rule', 'add', 'ipproto', 'tcp', 'dport', '4222', 'prohibit');
  const about = { size: 4, key: null };
  const said = [
    [
      startNode(at, 1, { ...about, nameserver: '10.77.0.53' }),
      'does not resolve: nameserver 10.77.0.53 does not answer; check',
    ],
    [startNode(at, 2, about), 'there is no route to 10.77.0.1: EHOSTUNREACH; add the route'],
    [startNode(at, 3, about), 'port 4222 of 10.77.0.1 is blocked: EACCES, though the host itself answers'],
  ] as const;
  for (const [member, text] of said) {
    await until(`"${text}"`, 30_000, () => member.output.includes(text));
    expect(member.ended).toBe(false);
  }
});
