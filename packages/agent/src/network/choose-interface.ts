import { BlockList, isIP, isIPv6 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { ConfigError } from '../errors.ts';

/** One address of an interface that is up. */
export interface InterfaceAddress {
  readonly name: string;
  readonly address: string;
}

export interface ChosenInterface extends InterfaceAddress {
  /** Why this one; completes "uses eth0: ". */
  readonly why: string;
  /** Other addresses that would have been fit, for those who look for a way round a fault. */
  readonly others: readonly InterfaceAddress[];
}

export interface InterfaceChoice {
  /** As os.networkInterfaces() gives them. */
  readonly interfaces: NodeJS.Dict<readonly NetworkInterfaceInfo[]>;
  /** The leader's address, which may be one of this host. */
  readonly leader: string;
  /** Source address of the route towards the leader; null when there is no route. */
  readonly routeSource: string | null;
  /** Names of interfaces or networks such as 10.0.0.0/16, the best first; null leaves it to the route. */
  readonly wanted: readonly string[] | null;
}

/** Interfaces that container runtimes, virtual machines and overlays make on a host: other hosts do not reach them. */
const CONTAINER_INTERFACES =
  /^(docker|br-|veth|cni|cali|cilium|lxc|lxd|flannel|kube-|nodelocaldns|podman|virbr|vnet|tailscale|zt)/;

/** The interface whose address ranks and probes of this host use: of the leader's address family, and never link-local.
 *  Without a wish it is the one that leads to the leader; an interface of containers only when no other could.
 *  @returns null when there is none. @throws ConfigError ERR_INTERFACE when nothing fits what is wanted. */
export function chooseInterface(choice: InterfaceChoice): ChosenInterface | null {
  const { leader, routeSource, wanted } = choice;
  if (isLoopbackAddress(leader)) return { name: 'lo', address: leader, why: 'the leader is on loopback', others: [] };
  const all = addressesOf(choice);
  const usable = all.filter(({ name }) => !CONTAINER_INTERFACES.test(name));
  const chosen = (found: FoundAddress | undefined, why: string): ChosenInterface | null =>
    found
      ? {
          name: found.name,
          address: found.address,
          why,
          others: usable.filter(({ name }) => name !== found.name).map(({ name, address }) => ({ name, address })),
        }
      : null;
  if (wanted !== null) {
    for (const wish of wanted) {
      const found = all.find((candidate) => fits(candidate, wish));
      if (found) return chosen(found, `--interface ${wish}`);
    }
    throw new ConfigError('ERR_INTERFACE', notFound(wanted, leader, all));
  }
  const own = all.find(({ address }) => address === leader);
  const routed = own ?? all.find(({ address }) => address === routeSource);
  const why = own ? "it has the leader's address" : 'it leads to the leader';
  if (routed && !CONTAINER_INTERFACES.test(routed.name)) return chosen(routed, why);
  const neighbour = usable.find((candidate) => holds(candidate.cidr, leader));
  if (neighbour) return chosen(neighbour, `the leader's address is in its network ${neighbour.cidr}`);
  if (routed) return chosen(routed, `${why}, and no other does`);
  return chosen(usable[0], 'there is no route to the leader');
}

export function isLoopbackAddress(address: string): boolean {
  return /^127\.|^::1$/.test(address);
}

interface FoundAddress extends InterfaceAddress {
  readonly cidr: string | null;
}

function addressesOf({ interfaces, leader }: InterfaceChoice): FoundAddress[] {
  const family = isIPv6(leader) ? 'IPv6' : 'IPv4';
  return Object.entries(interfaces).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter((a) => a.family === family && !a.internal && !isLinkLocal(a.address))
      .map(({ address, cidr }) => ({ name, address, cidr })),
  );
}

function isLinkLocal(address: string): boolean {
  return /^169\.254\.|^fe[89ab]/i.test(address);
}

function fits({ name, address }: FoundAddress, wish: string): boolean {
  return name === wish || address === wish || holds(wish, address);
}

/** False for what is no network. */
function holds(network: string | null, address: string): boolean {
  const [, base = '', bits = ''] = /^(.+)\/(\d{1,3})$/.exec(network ?? '') ?? [];
  const version = isIP(base);
  if (version === 0 || isIP(address) !== version || Number(bits) > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(base, Number(bits), family);
  return list.check(address, family);
}

function notFound(wanted: readonly string[], leader: string, all: readonly InterfaceAddress[]): string {
  const family = isIPv6(leader) ? 'IPv6' : 'IPv4';
  const present = all.map(({ name, address }) => `${name} (${address})`).join(', ');
  return `--interface is ${wanted.join(',')}; no interface of that name or network has an ${family} address, which the leader's ${leader} asks for; there ${present === '' ? 'is none' : `are ${present}`}`;
}
