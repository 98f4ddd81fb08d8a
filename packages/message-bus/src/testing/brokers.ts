import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HubAddress, LocalHubOptions } from '../local-hub.ts';
import { natsToken } from '../nats-token.ts';
import { startNatsServer } from '../nats-server.ts';
import type { BusTarget } from '../bus-target.ts';

/** A broker or hub in a process of its own. */
export interface Broker extends AsyncDisposable {
  readonly target: BusTarget;
  readonly warnings: string[];
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  /** Kills it, with all it knew. */
  kill(): Promise<void>;
  /** Starts it again where it was. */
  restart(): Promise<void>;
}

export interface BrokerKind {
  readonly name: string;
  readonly start: () => Promise<Broker>;
}

export const GROUP_KEY = 'a key for tests';

export const natsKind: BrokerKind = { name: 'nats', start: startNats };
export const tcpHubKind: BrokerKind = {
  name: 'local, tcp',
  start: () => startHub({ host: '127.0.0.1', port: 0 }, async () => {}),
};
export const unixHubKind: BrokerKind = { name: 'local, unix', start: startUnixHub };

async function startNats(): Promise<Broker> {
  const token = natsToken(GROUP_KEY);
  let server = await startNatsServer({ host: '127.0.0.1', port: 0, token });
  const { port, url } = server;
  return {
    target: { groupKey: GROUP_KEY, nats: [url] },
    warnings: [],
    signal: (signal) => void process.kill(server.pid, signal),
    kill: async () => {
      process.kill(server.pid, 'SIGKILL');
      await server.stop();
    },
    restart: async () => {
      server = await startNatsServer({ host: '127.0.0.1', port, token });
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

async function startUnixHub(): Promise<Broker> {
  const directory = await mkdtemp(join(tmpdir(), 'skein-hub-'));
  return startHub({ path: join(directory, 'hub.sock') }, async () => {
    await rm(directory, { recursive: true });
  });
}

async function startHub(listen: HubAddress, cleanUp: () => Promise<void>): Promise<Broker> {
  const warnings: string[] = [];
  let { child, address } = await forkHub(listen, warnings);
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
    await promise;
  };
  return {
    target: { groupKey: GROUP_KEY, hub: address },
    warnings,
    signal: (signal) => void child.kill(signal),
    kill,
    restart: async () => {
      ({ child, address } = await forkHub(address, warnings));
    },
    [Symbol.asyncDispose]: async () => {
      await kill();
      await cleanUp();
    },
  };
}

async function forkHub(listen: HubAddress, warnings: string[]): Promise<{ child: ChildProcess; address: HubAddress }> {
  const child = fork(join(import.meta.dirname, 'hub-process.ts'));
  const { promise, resolve } = Promise.withResolvers<HubAddress>();
  child.on('message', (message: { address?: HubAddress; warning?: string }) => {
    if (message.address) resolve(message.address);
    if (message.warning !== undefined) warnings.push(message.warning);
  });
  const options: LocalHubOptions = { listen, groupKey: GROUP_KEY, queuedBytesMax: 4_194_304 };
  child.send(options);
  return { child, address: await promise };
}
