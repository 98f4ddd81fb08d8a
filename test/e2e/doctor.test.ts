import { afterEach, expect, test } from 'vitest';
import { freePort, type Launched, ROOT, skein, TINY_CHAT } from '../support/cluster.ts';
import { canNetns, NetworkHosts, type NetworkPlan } from '../support/network-hosts.ts';

const NAMES = ['chat-0.chat', 'chat-0-1.chat', 'chat-0-2.chat'];

let hosts: NetworkHosts | null = null;

afterEach(async () => {
  await hosts?.[Symbol.asyncDispose]();
  hosts = null;
});

function makeHosts(plan: Partial<NetworkPlan> = {}): NetworkHosts {
  hosts = new NetworkHosts({ names: NAMES, ...plan });
  return hosts;
}

interface DoctorOptions {
  readonly args?: readonly string[];
  readonly nameserver?: string;
}

function startDoctor(at: NetworkHosts, worker: number, { args = [], nameserver }: DoctorOptions = {}): Launched {
  return at.start(worker, [`${ROOT}packages/cli/bin/skein`, 'doctor', '--wait', '30', ...args], {
    env: {
      LWS_LEADER_ADDRESS: NAMES[0] ?? '',
      LWS_GROUP_SIZE: String(NAMES.length),
      LWS_WORKER_INDEX: String(worker),
      SKEIN_GROUP_KEY: 'correct horse',
    },
    ...(nameserver === undefined ? {} : { nameserver }),
  });
}

/** What each host's doctor printed and how it ended, by worker index. */
async function examined(
  at: NetworkHosts,
  options: Readonly<Record<number, DoctorOptions>> = {},
): Promise<{ readonly output: string; readonly code: number | null }[]> {
  const doctors = NAMES.map((_, worker) => startDoctor(at, worker, options[worker]));
  return Promise.all(doctors.map(async (doctor) => ({ code: await doctor.exit(), output: doctor.output })));
}

test.skipIf(!canNetns)('three hosts in order: every doctor shows the matrix and ends well', async () => {
  const at = makeHosts();
  // What a container runtime would have made.
  at.ip(1, 'link', 'add', 'docker0', 'type', 'bridge');
  at.ip(1, 'addr', 'add', '172.17.0.1/16', 'dev', 'docker0');
  at.ip(1, 'link', 'set', 'docker0', 'up');
  const found = await examined(at, { 0: { args: [TINY_CHAT] }, 1: { args: [TINY_CHAT] } });
  for (const { output, code } of found) {
    expect(output).toContain('every pair of hosts is well');
    expect(output).toMatch(/^1 eth0 10\.77\.0\.2 +\d\.\d+ ms \d+\.\d+ Gb\/s 1500 B +- +\d/m);
    expect(code).toBe(0);
  }
  expect(found[0]?.output).toMatch(/^ok +model .*LlamaForCausalLM, 6 layers/m);
});

test.skipIf(!canNetns)('other files on one host are told everywhere, with both', async () => {
  const at = makeHosts();
  const other = `${ROOT}test/fixtures/llama/gqa-llama3-tied`;
  const found = await examined(at, { 0: { args: [TINY_CHAT] }, 1: { args: [TINY_CHAT] }, 2: { args: [other] } });
  for (const { output, code } of found) {
    expect(output).toMatch(
      /^fail +model +worker 2 has model sha256:\w+, worker 0 has sha256:\w+\n +-> give every agent/m,
    );
    expect(output).toContain('every pair of hosts is well');
    expect(code).toBe(1);
  }
});

test.skipIf(!canNetns)('no route is named with the end that has none', async () => {
  const at = makeHosts();
  at.ip(2, 'route', 'add', 'unreachable', at.address(1));
  const found = await examined(at);
  for (const { output, code } of found) {
    expect(output).toMatch(
      /^fail +network +worker 2 \(.*, eth0 10\.77\.0\.3\) has no route to worker 1 \(.*, eth0 10\.77\.0\.2\): EHOSTUNREACH; add the route/m,
    );
    expect(output).toContain('1 of ');
    expect(output).toMatch(/^2 eth0 .* NO-ROUTE/m);
    expect(code).toBe(1);
  }
});

test.skipIf(!canNetns)('a port that is blocked is named with its address, and the ports that ranks need', async () => {
  const at = makeHosts({ between: 'router' });
  const ports = ['ipproto', 'tcp', 'sport', '32768-60999', 'dport', '32768-60999'];
  at.switchIp('rule', 'add', 'iif', 'p1', 'oif', 'p2', ...ports, 'blackhole');
  at.switchIp('rule', 'add', 'iif', 'p1', 'to', at.address(2), ...ports, 'blackhole');
  const [leader] = await examined(at);
  expect(leader?.output).toMatch(
    /^fail +network +port \d+ of 10\.77\.2\.1 is blocked between worker 1 .* and worker 2 .*: no answer, though the host itself answers; let TCP between the members pass, ports 32768-60999 included/m,
  );
  expect(leader?.code).toBe(1);
});

test.skipIf(!canNetns)('an MTU hole is named with what vanishes and what crosses', async () => {
  const at = makeHosts();
  at.switchIp('link', 'set', 'p2', 'mtu', '1400');
  const [leader] = await examined(at);
  expect(leader?.output).toMatch(
    /^fail +network +packets of 1500 bytes between worker 2 .* and workers 0, 1 vanish, those of 1400 cross: give eth0 of all of them an MTU of 1400/m,
  );
  expect(leader?.output).toContain('1 of ');
  expect(leader?.code).toBe(1);
});

test.skipIf(!canNetns)('a wrong interface is named with the one that would do, on hosts of IPv6 alone', async () => {
  const at = makeHosts({ family: 'IPv6' });
  at.ip(2, 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'far');
  at.ip(2, 'addr', 'add', 'fd78::3/64', 'dev', 'eth1', 'nodad');
  at.ip(2, 'link', 'set', 'far', 'up');
  at.ip(2, 'link', 'set', 'eth1', 'up');
  const [leader] = await examined(at, { 2: { args: ['--interface', 'eth1'] } });
  expect(leader?.output).toMatch(
    /^fail +network +worker 2 \(.*\) uses eth1 fd78::3 \(--interface eth1\), over which it and workers 0, 1 do not reach each other; over eth0 they do: start it with --interface eth0/m,
  );
  expect(leader?.output).toContain('1 of ');
  expect(leader?.code).toBe(1);
});

test.skipIf(!canNetns)('a nameserver that says nothing is named, without a wait for the group', async () => {
  const at = makeHosts();
  // A neighbour that takes every packet and answers none.
  at.ip(1, 'neigh', 'add', '10.77.0.53', 'lladdr', '02:00:00:00:00:53', 'dev', 'eth0');
  const doctor = startDoctor(at, 1, { nameserver: '10.77.0.53' });
  expect(await doctor.exit()).toBe(1);
  expect(doctor.output).toMatch(
    /^fail +leader +LWS_LEADER_ADDRESS chat-0\.chat does not resolve: nameserver 10\.77\.0\.53 does not answer; check \/etc\/resolv\.conf/m,
  );
});

test('without LWS variables it looks at this machine alone', async () => {
  await using doctor = skein(['doctor', TINY_CHAT]);
  const code = await doctor.exit();
  for (const name of ['native addon', 'shared memory', '/proc access', 'cores', 'memory', 'huge pages', 'model'])
    expect(doctor.output).toMatch(new RegExp(`^(ok|warn) +${name} `, 'm'));
  expect(code, doctor.output).toBe(0);
});

/** Doctors of a group of two on this host, the leader's first. */
async function startHere(count: number): Promise<Launched[]> {
  const port = await freePort();
  return Array.from({ length: count }, (_, worker) =>
    skein(['doctor', '--wait', count === 1 ? '2' : '30', '--nats-port', String(port)], {
      LWS_LEADER_ADDRESS: 'chat-0.chat.localhost',
      LWS_GROUP_SIZE: '2',
      LWS_WORKER_INDEX: String(worker),
    }),
  );
}

test('members of one host have no network to look at', async () => {
  for (const doctor of await startHere(2)) {
    expect(await doctor.exit(), doctor.output).toBe(0);
    expect(doctor.output).toMatch(/^ok +network +all members share one host/m);
  }
});

test('a member that does not come is named when the wait is over', async () => {
  const [doctor] = await startHere(1);
  expect(await doctor?.exit()).toBe(1);
  expect(doctor?.output).toMatch(
    /^fail +members +no doctor of worker 1 came within 2 s\n +-> start skein doctor there too/m,
  );
});

test('an interface that is not there is refused with those that are', async () => {
  await using doctor = skein(['doctor', '--interface', 'nosuch0']);
  expect(await doctor.exit()).toBe(1);
  expect(doctor.output).toMatch(/^fail +interface +--interface is nosuch0; no interface of that name/m);
});
