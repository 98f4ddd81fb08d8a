import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { startNatsServer } from '@skein/message-bus';
import { loadNative, type NativeAddon } from '@skein/native';
import { hostCores } from '../host-cores.ts';
import type { ChosenInterface } from '../network/choose-interface.ts';
import { interfaceMtu, ucxNetwork } from '../network/host-network.ts';
import { readOrNull } from '../rank/control-groups.ts';
import { hostMemory } from '../rank/host-memory.ts';
import { type Check, fail, ok, reasonOf, warn } from './check.ts';

const CHANNEL_DEADLINE_MS = 2000;
const CHILD_MS = 5000;

/** What this machine has for an agent and its ranks. `chosen` as hostInterface gives it. */
export async function machineChecks(chosen: ChosenInterface | null): Promise<Check[]> {
  const [addon, native] = nativeAddon();
  return [
    native,
    ...(addon ? [ucx(addon, chosen), await sharedMemory(addon)] : []),
    neighbourFiles(),
    cores(),
    memory(),
    hugePages(),
    await natsServer(),
    networkInterface(chosen),
  ];
}

function nativeAddon(): [NativeAddon | null, Check] {
  const name = 'native addon';
  try {
    const addon = loadNative();
    const { instructionLevel } = addon.createDevice({ backend: 'cpu', threads: 1 });
    return [addon, ok(name, `loads; kernels for ${instructionLevel}`)];
  } catch (error) {
    return [null, fail(name, reasonOf(error), null)];
  }
}

function ucx(addon: NativeAddon, chosen: ChosenInterface | null): Check {
  const name = 'UCX';
  const transport = addon.createTransport(ucxNetwork(chosen));
  const why = transport.ucxUnavailable;
  transport.close();
  if (why !== null)
    return warn(
      name,
      why,
      'needed between hosts only: install UCX 1.13 or later (Debian: libucx0) where a group spans several',
    );
  const devices = rdmaDevices();
  const rdma = devices.length === 0 ? 'no RDMA device, so TCP' : `RDMA devices ${devices.join(', ')}, else TCP`;
  return ok(name, `loads; ${rdma} on ${chosen ? chosen.name : 'any interface'}`);
}

function rdmaDevices(): string[] {
  try {
    return readdirSync('/sys/class/infiniband');
  } catch {
    return [];
  }
}

/** A ring of the kind that ranks of one host have between them. */
async function sharedMemory(addon: NativeAddon): Promise<Check> {
  const name = 'shared memory';
  const transport = addon.createTransport({ interfaceName: null, prefersIpv6: false });
  try {
    const about = { name: 'doctor', transport: 'shm' } as const;
    const receive = transport.openReceive({ ...about, capacityBytes: 1 << 20 });
    await transport.openSend({ ...about, descriptor: receive.descriptor(), deadlineMs: CHANNEL_DEADLINE_MS });
    return ok(name, 'a ring in a memory file opens');
  } catch (error) {
    return fail(name, reasonOf(error), 'let this container use memfd_create and read /proc of its own processes');
  } finally {
    transport.close();
  }
}

/** Ranks of one host open each other's memory files through /proc. */
function neighbourFiles(): Check {
  const name = '/proc access';
  const script = `require('node:fs').readlinkSync('/proc/${process.pid}/fd/0')`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', script], { timeout: CHILD_MS, encoding: 'utf8' });
  if (status === 0) return ok(name, 'a process reads the descriptors of another of this user');
  const reason = /\bE[A-Z]{3,}\b/.exec(stderr)?.[0] ?? `exit status ${status}`;
  return fail(
    name,
    `a process cannot read the descriptors of another of this user: ${reason}`,
    'mount /proc without hidepid, and start ranks of one host under one user',
  );
}

function cores(): Check {
  const name = 'cores';
  const [affinity, granted] = [availableParallelism(), hostCores()];
  if (granted === affinity) return ok(name, `${affinity}`);
  return warn(
    name,
    `${granted} of ${affinity}: a control group's quota grants no more`,
    'raise the CPU limit, or take it as it is',
  );
}

function memory(): Check {
  const { totalBytes, availableBytes } = hostMemory();
  return ok('memory', `${gib(availableBytes)} GiB available of ${gib(totalBytes)}`);
}

function gib(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}

function hugePages(): Check {
  const name = 'huge pages';
  const mode = /\[(\w+)\]/.exec(readOrNull('/sys/kernel/mm/transparent_hugepage/enabled') ?? '')?.[1];
  if (mode === 'always' || mode === 'madvise') return ok(name, `transparent, ${mode}`);
  return warn(
    name,
    mode === undefined ? 'this kernel has no transparent ones' : `transparent ones are set to ${mode}`,
    'weights are read faster with them: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled',
  );
}

async function natsServer(): Promise<Check> {
  const name = 'nats-server';
  try {
    const server = await startNatsServer({ host: '127.0.0.1', port: 0, token: null });
    await server.stop();
    return ok(name, 'starts');
  } catch (error) {
    return warn(name, reasonOf(error), 'needed on the leader only, and not with SKEIN_NATS_URL');
  }
}

function networkInterface(chosen: ChosenInterface | null): Check {
  const name = 'interface';
  if (chosen === null)
    return warn(name, 'none has an address that other hosts could reach', 'a group of several hosts needs one');
  const { name: chosenName, address, why, others } = chosen;
  const rest = others.length === 0 ? '' : `; there are also ${others.map((o) => `${o.name} ${o.address}`).join(', ')}`;
  return ok(name, `${chosenName} ${address}, MTU ${interfaceMtu(chosenName)}: ${why}${rest}`);
}
