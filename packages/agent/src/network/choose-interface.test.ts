import { isIPv6 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { expect, test } from 'vitest';
import { chooseInterface, type InterfaceChoice } from './choose-interface.ts';

/** From name and networks, as `ip addr` shows them. */
function interfaces(of: Readonly<Record<string, readonly string[]>>): NodeJS.Dict<NetworkInterfaceInfo[]> {
  return Object.fromEntries(
    Object.entries(of).map(([name, cidrs]) => [
      name,
      cidrs.map((cidr): NetworkInterfaceInfo => {
        const address = cidr.split('/')[0] ?? '';
        const about = { address, netmask: '', mac: '00:00:00:00:00:00', internal: name === 'lo', cidr };
        return isIPv6(address) ? { ...about, family: 'IPv6', scopeid: 0 } : { ...about, family: 'IPv4' };
      }),
    ]),
  );
}

const pod = interfaces({
  lo: ['127.0.0.1/8', '::1/128'],
  docker0: ['172.17.0.1/16'],
  eth0: ['10.77.0.3/24', 'fd77::3/64', 'fe80::1/64'],
  eth1: ['10.78.0.3/24'],
  ib0: ['169.254.3.3/16', '10.79.0.3/24'],
});

function choose(change: Partial<InterfaceChoice> = {}): string {
  const chosen = chooseInterface({
    interfaces: pod,
    leader: '10.77.0.1',
    routeSource: '10.77.0.3',
    wanted: null,
    ...change,
  });
  return chosen ? `${chosen.name} ${chosen.address}: ${chosen.why}` : 'none';
}

test('without a wish it is the interface that leads to the leader, and on the leader its own', () => {
  expect(choose()).toBe('eth0 10.77.0.3: it leads to the leader');
  expect(choose({ leader: '10.77.0.3' })).toBe("eth0 10.77.0.3: it has the leader's address");
  expect(choose({ leader: 'fd77::1', routeSource: 'fd77::3' })).toBe('eth0 fd77::3: it leads to the leader');
  expect(choose({ leader: '127.0.0.1', routeSource: '127.0.0.1' })).toBe('lo 127.0.0.1: the leader is on loopback');
});

test("an interface of containers is taken only where no other is in the leader's network", () => {
  const decoy = interfaces({ docker0: ['10.77.0.99/16'], eth0: ['10.77.0.3/24'] });
  const byDecoy = { interfaces: decoy, routeSource: '10.77.0.99' };
  expect(choose(byDecoy)).toBe("eth0 10.77.0.3: the leader's address is in its network 10.77.0.3/24");
  expect(choose({ interfaces: interfaces({ veth7: ['10.77.0.3/24'] }) })).toBe(
    'veth7 10.77.0.3: it leads to the leader, and no other does',
  );
});

test('without a route it is the first that other hosts could reach, never link-local', () => {
  expect(choose({ leader: '192.0.2.1', routeSource: null })).toBe('eth0 10.77.0.3: there is no route to the leader');
  expect(choose({ interfaces: interfaces({ eth0: ['fe80::1/64'] }), leader: 'fd77::1', routeSource: null })).toBe(
    'none',
  );
});

test.each([
  [['eth1'], 'eth1 10.78.0.3'],
  [['eth9', 'ib0'], 'ib0 10.79.0.3'],
  [['10.79.0.0/16'], 'ib0 10.79.0.3'],
  [['172.16.0.0/12'], 'docker0 172.17.0.1'],
  [['10.78.0.3'], 'eth1 10.78.0.3'],
])('a wish is kept to: %s', (wanted, expected) => {
  expect(choose({ wanted })).toBe(`${expected}: --interface ${wanted.at(-1)}`);
});

test('a wish that nothing fits is refused with what there is', () => {
  expect(() => choose({ wanted: ['eth9', '10.0.0.0/33'] })).toThrow(
    "--interface is eth9,10.0.0.0/33; no interface of that name or network has an IPv4 address, which the leader's 10.77.0.1 asks for; there are docker0 (172.17.0.1), eth0 (10.77.0.3), eth1 (10.78.0.3), ib0 (10.79.0.3)",
  );
  expect(() => choose({ leader: 'fd77::1', wanted: ['eth1'] })).toThrow(/an IPv6 address.*are eth0 \(fd77::3\)/);
});

test('what would have been fit as well is told, without interfaces of containers', () => {
  const chosen = chooseInterface({ interfaces: pod, leader: '10.77.0.1', routeSource: '10.77.0.3', wanted: ['eth1'] });
  expect(chosen?.others).toEqual([
    { name: 'eth0', address: '10.77.0.3' },
    { name: 'ib0', address: '10.79.0.3' },
  ]);
});
