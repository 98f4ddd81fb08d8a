import { createServer } from 'node:net';
import { type LocalHub, startLocalHub } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { createLogger } from '@skein/telemetry';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ChosenInterface } from '../network/choose-interface.ts';
import { Preflight, type PreflightMember } from './preflight.ts';
import { servePreflight } from './preflight-service.ts';
import { ProbeConnection } from './probe-connection.ts';
import { measureBandwidth, reachPeer } from './probe-peer.ts';
import { ProbeServer } from './probe-server.ts';

const loopback: ChosenInterface = { name: 'lo', address: '127.0.0.1', why: 'a test', others: [] };
const never = new AbortController().signal;

let hub: LocalHub;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  hub = await startLocalHub({ listen: null, groupKey: null });
  stack = new AsyncDisposableStack();
  stack.use(hub);
});
afterEach(async () => {
  await stack.disposeAsync();
});

/** An agent that may be probed over loopback, as if it were on a host of its own. */
function join(
  workerIndex: number,
  chosen: ChosenInterface | null = loopback,
  hostId = `h${workerIndex}`,
): PreflightMember {
  const bus = hub.connect(newIdentity(`g-${workerIndex}`));
  stack.use(bus);
  stack.use(servePreflight(bus, { group: 'g', workerIndex, groupKey: 'a key', chosen }));
  return { agent: bus.identity, advert: { workerIndex, hostId, host: `host${workerIndex}` } };
}

function lead(): { readonly preflight: Preflight; readonly lines: string[] } {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', format: 'json', sink: { write: (line: string) => lines.push(line) } });
  const bus = hub.connect(newIdentity('leader'));
  stack.use(bus);
  return { preflight: new Preflight(bus, { group: 'g', brokerPort: null, logger }), lines };
}

test('every pair of hosts is measured, and told once', async () => {
  const members = [join(0), join(1), join(2)];
  const { preflight, lines } = lead();
  await preflight.check(members, never);
  expect(preflight.view).toMatchObject({ faults: [], agents: [{}, {}, {}] });
  expect(preflight.view?.pairs).toHaveLength(6);
  for (const { report } of preflight.view?.pairs ?? []) {
    expect(report).toMatchObject({ dial: 'connected', problem: '' });
    expect(report.rttUs).toBeGreaterThan(0);
    expect(report.bytesPerSecond).toBeGreaterThan(0);
    expect(report.crossedBytes).toBe(report.packetBytes);
  }
  await preflight.check([...members, ...members], never);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('every pair of hosts is well');
  // A new agent is a reason to look again.
  await preflight.check([join(0), ...members.slice(1)], never);
  expect(lines).toHaveLength(2);
});

test('replicas that share agents are looked at in turn, and their matrices are one', async () => {
  const members = [join(0), join(1), join(2)];
  const { preflight, lines } = lead();
  await Promise.all([preflight.check(members.slice(0, 2), never), preflight.check(members.slice(1), never)]);
  expect(lines).toHaveLength(2);
  const { agents, pairs, faults } = preflight.view ?? {};
  expect(agents?.map(({ workerIndex }) => workerIndex)).toEqual([0, 1, 2]);
  expect(pairs?.map(({ from, to }) => `${from}>${to}`)).toEqual(['0>1', '1>0', '1>2', '2>1']);
  expect(faults).toEqual([]);
});

test('members of one host have no network between them', async () => {
  const { preflight } = lead();
  await preflight.check([join(0, null, 'h'), join(1, null, 'h')], never);
  expect(preflight.view).toBeNull();
});

test('an agent without an address, and one that is not there, are faults that name them', async () => {
  const absent = { agent: newIdentity('g-2'), advert: { workerIndex: 2, hostId: 'h2', host: 'host2' } };
  const { preflight } = lead();
  await expect(preflight.check([join(0), join(1, null), absent], never)).rejects.toMatchObject({
    name: 'FormationError',
    code: 'ERR_PREFLIGHT',
    message: expect.stringMatching(
      /worker 1 \(host1\) took no part in the preflight: .*no interface has an address.*worker 2 \(host2\) took no part/,
    ),
  });
  expect(preflight.view?.faults.map(({ kind }) => kind)).toEqual(['unanswered', 'unanswered']);
});

test('the wait ends with its signal', async () => {
  const { preflight } = lead();
  const stop = new AbortController();
  const checking = preflight.check([join(0), join(1)], stop.signal);
  stop.abort(new Error('enough'));
  await expect(checking).rejects.toThrow('enough');
});

const target = (port: number, groupKey = 'a key'): Parameters<typeof reachPeer>[0] => ({
  address: '127.0.0.1',
  port,
  localAddress: '127.0.0.1',
  identity: newIdentity('prober'),
  groupKey,
});

test('a probe that holds another key gets nothing from the port', async () => {
  const server = await ProbeServer.start('127.0.0.1', 'a key');
  stack.defer(() => server.close());
  await expect(ProbeConnection.open(target(server.port, 'another'), 3000)).rejects.toThrow();
  const { reach, connection } = await reachPeer(target(server.port, 'another'), {
    packetBytes: 1500,
    referencePort: 9,
  });
  expect(connection).toBeNull();
  expect(reach).toMatchObject({ dial: 'connected', problem: expect.stringContaining('closed the connection') });
});

test('a message beyond the limit ends its connection, and a closed server its own', async () => {
  const server = await ProbeServer.start('127.0.0.1', 'a key');
  const opened = await ProbeConnection.open(target(server.port), 3000);
  if ('failure' in opened) throw new Error(opened.failure);
  using connection = opened.connection;
  expect(await connection.send(4, 3000)).toBe(true);
  expect(await measureBandwidth(connection)).toBeGreaterThan(0);
  expect(await connection.send((1 << 20) + 5, 3000)).toBe(false);
  server.close();
  expect(await ProbeConnection.open(target(server.port), 3000)).toEqual({ failure: 'ECONNREFUSED' });
});

test('a port where nothing of ours answers is a problem with a deadline', async () => {
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  stack.defer(() => void silent.close());
  const address = silent.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  await expect(ProbeConnection.open(target(port), 200)).rejects.toMatchObject({ name: 'TimeoutError' });
});
