import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type ChosenInterface, chooseInterface } from './choose-interface.ts';

/** The interface of this host that ranks use; see chooseInterface. */
export async function hostInterface(leader: string, wanted: readonly string[] | null): Promise<ChosenInterface | null> {
  return chooseInterface({
    interfaces: networkInterfaces(),
    leader,
    routeSource: await routeSource(leader),
    wanted,
  });
}

/** What UCX is confined to, as the addon takes it. */
export function ucxNetwork(chosen: ChosenInterface | null): {
  readonly interfaceName: string | null;
  readonly prefersIpv6: boolean;
} {
  return chosen
    ? { interfaceName: chosen.name, prefersIpv6: isIPv6(chosen.address) }
    : { interfaceName: null, prefersIpv6: false };
}

/** The address from which the route to `address` leaves; null without a route. No packet is sent. */
export async function routeSource(address: string): Promise<string | null> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(9, address, resolve);
    });
    const { address: source } = socket.address();
    return source === '0.0.0.0' || source === '::' ? null : source;
  } catch {
    return null;
  } finally {
    socket.close();
  }
}

/** The name of the interface that has `address`, or null. */
export function interfaceWith(address: string): string | null {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (addresses?.some((a) => a.address === address)) return name;
  }
  return null;
}

export function ownAddresses(): ReadonlySet<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? []));
}

/** Bytes of the largest packet that an interface sends; Ethernet's where the system does not say. */
export function interfaceMtu(name: string): number {
  return numberIn(`/sys/class/net/${name}/mtu`) ?? 1500;
}

/** The ports that the kernel chooses from, as ranks' listeners have them: `32768-60999`. */
export function localPorts(): string {
  const [first, last] = read('/proc/sys/net/ipv4/ip_local_port_range').trim().split(/\s+/);
  return first && last ? `${first}-${last}` : '32768-60999';
}

/** Payload of the TCP segment that fills a packet of `packetBytes`. */
export function segmentBytes(packetBytes: number, address: string): number {
  const timestampBytes = numberIn('/proc/sys/net/ipv4/tcp_timestamps') === 0 ? 0 : 12;
  return packetBytes - (isIPv6(address) ? 40 : 20) - 20 - timestampBytes;
}

function numberIn(path: string): number | null {
  const text = read(path).trim();
  return /^\d+$/.test(text) ? Number(text) : null;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
