import { newIdentity } from '@skein/protocol';
import { expect, test } from 'vitest';
import { networkFaults } from './network-faults.ts';
import { networkTable, networkTopology, type ProbedAgent, type ProbedPair } from './network-view.ts';
import type { Detour, PairReport } from './preflight-actor.ts';

function agents(count: number): ProbedAgent[] {
  return Array.from({ length: count }, (_, workerIndex) => ({
    workerIndex,
    host: `h${workerIndex}`,
    agent: newIdentity(`g-${workerIndex}`),
    problem: '',
    place: {
      interfaceName: 'eth0',
      address: `10.0.0.${workerIndex}`,
      port: 40_000 + workerIndex,
      mtu: 1500,
      why: 'it leads to the leader',
      others: [{ name: 'eth1', address: `10.1.0.${workerIndex}` }],
      localPorts: '32768-60999',
    },
  }));
}

const well = {
  dial: 'connected',
  hostAnswers: true,
  problem: '',
  rttUs: 120,
  packetBytes: 1500,
  crossedBytes: 1500,
  bytesPerSecond: 1.25e9,
};

/** All pairs of `count` agents, well but for those that `changes` names, such as `0>1`. */
function pairs(
  count: number,
  changes: Readonly<Record<string, Partial<PairReport> & { readonly detour?: Partial<Detour> }>> = {},
): ProbedPair[] {
  const all = Array.from({ length: count }, (_, i) => i);
  return all.flatMap((from) =>
    all.flatMap((to): ProbedPair[] => {
      if (from === to) return [];
      const { detour, ...change } = changes[`${from}>${to}`] ?? {};
      return [
        {
          from,
          to,
          report: { worker: to, ...well, ...change },
          detour: detour ? { worker: to, address: null, interfaceName: null, ...detour } : null,
        },
      ];
    }),
  );
}

const unreached = { hostAnswers: false, rttUs: null, packetBytes: null, crossedBytes: null, bytesPerSecond: null };
const silent = { dial: 'timeout', ...unreached };

function found(count: number, changes: Parameters<typeof pairs>[1]): string[] {
  return networkFaults(agents(count), pairs(count, changes)).map(({ kind, message }) => `${kind}: ${message}`);
}

test('pairs that are well have no fault, and the matrix shows what they have', () => {
  expect(found(3, {})).toEqual([]);
  const view = { agents: agents(2), pairs: pairs(2), faults: [] };
  expect(networkTable(view).split('\n')).toEqual([
    'from \\ to        0                          1',
    '0 eth0 10.0.0.0  -                          0.12 ms 10.00 Gb/s 1500 B',
    '1 eth0 10.0.0.1  0.12 ms 10.00 Gb/s 1500 B  -',
  ]);
  expect(networkTopology(view)).toMatchObject({
    agents: [{ workerIndex: 0, interface: 'eth0', address: '10.0.0.0', mtu: 1500 }, {}],
    pairs: [{ from: 0, to: 1, fault: null, rttUs: 120, bytesPerSecond: 1.25e9, packetBytes: 1500 }, {}],
    faults: [],
  });
});

test('no route is told of the end that has none, and the silence that it causes is not', () => {
  expect(found(2, { '0>1': { dial: 'ENETUNREACH', ...unreached }, '1>0': silent })).toEqual([
    'no-route: worker 0 (h0, eth0 10.0.0.0) has no route to worker 1 (h1, eth0 10.0.0.1): ENETUNREACH; add the route, or choose with --interface a network that all members share',
  ]);
});

test.each([
  ['the host answers elsewhere', { ...silent, hostAnswers: true }, 'no answer'],
  ['it is refused though its agent listens', { dial: 'ECONNREFUSED', ...unreached }, 'ECONNREFUSED'],
  ['this host may not dial it', { dial: 'EPERM', ...unreached }, 'EPERM'],
  ['connections the other way are made', silent, 'no answer'],
])('a port is blocked where %s', (_, report, said) => {
  expect(found(2, { '0>1': report })).toEqual([
    `blocked-port: port 40001 of 10.0.0.1 is blocked between worker 0 (h0, eth0 10.0.0.0) and worker 1 (h1, eth0 10.0.0.1): ${said}, though the host itself answers; let TCP between the members pass, ports 32768-60999 included, on which ranks listen`,
  ]);
});

test('silence both ways is told of both', () => {
  expect(found(2, { '0>1': silent, '1>0': silent })).toEqual([
    expect.stringMatching(/^no-answer: nothing answers worker 0 .* at worker 1 .*, neither port 40001 nor any other/),
    expect.stringMatching(/^no-answer: nothing answers worker 1 .* at worker 0 /),
  ]);
});

test('an MTU hole is told once for both directions, with what vanishes and what crosses', () => {
  expect(found(2, { '0>1': { crossedBytes: 1400 }, '1>0': { crossedBytes: 1400 } })).toEqual([
    'mtu-hole: packets of 1500 bytes between worker 0 (h0, eth0 10.0.0.0) and worker 1 (h1, eth0 10.0.0.1) vanish, those of 1400 cross: give eth0 of all of them an MTU of 1400, or let ICMP "fragmentation needed" (IPv6: "packet too big") pass',
  ]);
});

test('holes that have one agent in common are one fault', () => {
  const hole = { crossedBytes: 1400 };
  expect(found(4, { '0>2': hole, '1>2': hole, '2>1': hole, '3>2': hole })).toEqual([
    expect.stringMatching(
      /^mtu-hole: packets of 1500 bytes between worker 2 .* and workers 0, 1, 3 vanish, those of 1400/,
    ),
  ]);
  expect(found(4, { '0>1': hole, '2>3': hole })).toHaveLength(2);
});

test('a direction that suffers from the fault of the other is shown as silent', () => {
  const probed = pairs(2, { '0>1': silent, '1>0': { dial: 'EHOSTUNREACH', ...unreached } });
  const view = { agents: agents(2), pairs: probed, faults: networkFaults(agents(2), probed) };
  expect(networkTopology(view).pairs.map(({ fault }) => fault)).toEqual(['no-answer', 'no-route']);
  expect(networkTable(view)).toMatch(/NO-ANSWER[^]*NO-ROUTE/);
});

test('a wrong interface is told once of the worker that uses it, from all sides', () => {
  const reached = { detour: { address: '10.1.0.2', interfaceName: 'eth1' } };
  const leaves = (to: number): object => ({ detour: { address: `10.0.0.${to}`, interfaceName: 'eth1' } });
  expect(
    found(3, {
      '0>2': { ...silent, ...reached },
      '1>2': { ...silent, ...reached },
      '2>0': { ...silent, ...leaves(0) },
      '2>1': { dial: 'EHOSTUNREACH', ...unreached, ...leaves(1) },
    }),
  ).toEqual([
    'wrong-interface: worker 2 (h2) uses eth0 10.0.0.2 (it leads to the leader), over which it and workers 0, 1 do not reach each other; over eth1 they do: start it with --interface eth1 (SKEIN_INTERFACE=eth1)',
  ]);
});

test('a connection that breaks is told with its reason', () => {
  expect(found(2, { '0>1': { problem: 'no answer to a ping within 1000 ms' } })[0]).toMatch(
    /^broken: the probe of worker 1 .* by worker 0 .* failed on an open connection: no answer to a ping/,
  );
});

test('an agent that took no part is told of, unless another fault names it', () => {
  const [leader, worker] = agents(2);
  if (!leader || !worker) throw new Error('two agents');
  const mute = [leader, { ...worker, problem: 'no answer within 6500 ms' }];
  expect(networkFaults(mute, pairs(2, {}).slice(0, 1)).map(({ message }) => message)).toEqual([
    'worker 1 (h1) took no part in the preflight: no answer within 6500 ms',
  ]);
  const holed = pairs(2, { '0>1': { crossedBytes: 1400 } }).slice(0, 1);
  expect(networkFaults(mute, holed).map(({ kind }) => kind)).toEqual(['mtu-hole']);
});
