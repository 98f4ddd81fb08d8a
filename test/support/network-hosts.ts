import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Launched } from './cluster.ts';

/** Begins the names of namespaces: each of vitest's workers has its own. */
const OWN = `skt${process.env['VITEST_POOL_ID'] ?? ''}`;
const PROBE = `${OWN}-probe`;

/** Whether this process may make network namespaces. */
export const canNetns: boolean = process.getuid?.() === 0 && spawnSync('ip', ['netns', 'add', PROBE]).status === 0;
if (canNetns) ip('netns', 'del', PROBE);

export function ip(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

export interface NetworkPlan {
  /** By worker index, as LeaderWorkerSet's headless service would name them. */
  readonly names: readonly string[];
  readonly family?: 'IPv4' | 'IPv6';
  /** `bridge`: one network of veth pairs on a bridge; `router`: each host in a network of its own. */
  readonly between?: 'bridge' | 'router';
}

const SWITCH = `${OWN}-switch`;

/** Hosts of a group: network namespaces with an interface eth0 each. What starts in one also has its own IPC namespace and
 *  /dev/shm, and the names in its hosts file. */
export class NetworkHosts implements AsyncDisposable {
  readonly #plan: NetworkPlan;
  readonly #folder = mkdtempSync(join(tmpdir(), 'skein-hosts-'));
  readonly #hostsFile = join(this.#folder, 'hosts');
  readonly #running: Launched[] = [];

  constructor(plan: NetworkPlan) {
    this.#plan = plan;
    this.#remove();
    const { names, between = 'bridge' } = plan;
    ip('netns', 'add', SWITCH);
    if (between === 'bridge') {
      ip('-n', SWITCH, 'link', 'add', 'br0', 'type', 'bridge');
      ip('-n', SWITCH, 'link', 'set', 'br0', 'up');
    } else {
      ip('netns', 'exec', SWITCH, 'sysctl', '-q', 'net.ipv4.ip_forward=1');
    }
    for (const index of names.keys()) this.#add(index, between);
    const lines = names.map((name, index) => `${this.address(index)} ${name}`);
    writeFileSync(this.#hostsFile, ['127.0.0.1 localhost', '::1 localhost', ...lines, ''].join('\n'));
  }

  address(index: number): string {
    if (this.#plan.family === 'IPv6') return `fd77::${index + 1}`;
    return this.#plan.between === 'router' ? `10.77.${index}.1` : `10.77.0.${index + 1}`;
  }

  /** Runs `ip` in a host's namespace. */
  ip(index: number, ...args: string[]): void {
    ip('-n', host(index), ...args);
  }

  /** Runs `ip` in the namespace of the bridge or router, where host `index` is at port `p<index>`. */
  switchIp(...args: string[]): void {
    ip('-n', SWITCH, ...args);
  }

  /** @returns what it printed. */
  run(index: number, command: readonly string[]): string {
    return spawnSync('ip', ['netns', 'exec', host(index), ...command], { encoding: 'utf8' }).stdout;
  }

  /** Starts a command there. `nameserver`: the host asks it for names, and has none in its hosts file. */
  start(index: number, command: readonly string[], { env = {}, nameserver = null }: StartOptions = {}): Launched {
    const hosts = nameserver === null ? this.#hostsFile : join(this.#folder, 'no-hosts');
    const mounts = [`mount --bind ${hosts} /etc/hosts`, 'mount -t tmpfs shm /dev/shm'];
    if (nameserver !== null) {
      const resolver = join(this.#folder, `resolv-${index}.conf`);
      writeFileSync(hosts, '127.0.0.1 localhost\n');
      writeFileSync(resolver, `nameserver ${nameserver}\n`);
      mounts.push(`mount --bind ${resolver} /etc/resolv.conf`);
    }
    const script = `${mounts.join(' && ')} && exec "$@"`;
    const launched = new Launched(
      'ip',
      ['netns', 'exec', host(index), 'unshare', '--mount', '--ipc', 'sh', '-c', script, 'sh', ...command],
      env,
    );
    this.#running.push(launched);
    return launched;
  }

  /** The last lines of everything that was started. */
  get outputs(): string {
    return this.#running.map(({ output }) => output.slice(-2500)).join('\n---\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map((launched) => launched[Symbol.asyncDispose]()));
    this.#remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #add(index: number, between: 'bridge' | 'router'): void {
    const [name, port] = [host(index), `p${index}`];
    ip('netns', 'add', name);
    ip('-n', SWITCH, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    // Without `nodad` an address of IPv6 is of no use for a second.
    const [bits, flags] = this.#plan.family === 'IPv6' ? ['64', ['nodad']] : ['24', []];
    ip('-n', name, 'addr', 'add', `${this.address(index)}/${bits}`, 'dev', 'eth0', ...flags);
    ip('-n', name, 'link', 'set', 'eth0', 'up');
    ip('-n', name, 'link', 'set', 'lo', 'up');
    if (between === 'bridge') {
      ip('-n', SWITCH, 'link', 'set', port, 'master', 'br0', 'up');
      return;
    }
    ip('-n', SWITCH, 'addr', 'add', `10.77.${index}.254/24`, 'dev', port);
    ip('-n', SWITCH, 'link', 'set', port, 'up');
    ip('-n', name, 'route', 'add', 'default', 'via', `10.77.${index}.254`);
  }

  #remove(): void {
    for (const name of [...this.#plan.names.map((_, index) => host(index)), SWITCH])
      spawnSync('ip', ['netns', 'del', name]);
  }
}

interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly nameserver?: string | null;
}

function host(index: number): string {
  return `${OWN}-${index}`;
}
