import type { NetworkFault } from './network-faults.ts';
import { namedAgent, type ProbedAgent, type ProbedPair } from './network-view.ts';

interface Hole {
  readonly pair: readonly [from: number, to: number];
  readonly packetBytes: number;
  readonly crossedBytes: number;
}

/** Pairs between which full-size packets vanish while smaller ones cross. Holes of one size that all have one agent in common
 *  are one fault, since its link is where they are. */
export function mtuHoles(agents: readonly ProbedAgent[], pairs: readonly ProbedPair[]): NetworkFault[] {
  const holes = pairs.flatMap(({ from, to, report: { packetBytes, crossedBytes } }): Hole[] =>
    packetBytes === null || crossedBytes === null || crossedBytes === packetBytes
      ? []
      : [{ pair: [from, to], packetBytes, crossedBytes }],
  );
  const bySize = Map.groupBy(holes, ({ packetBytes, crossedBytes }) => `${packetBytes} ${crossedBytes}`);
  return [...bySize.values()].flatMap((same) => {
    const ends = [...new Set(same.flatMap(({ pair }) => pair))];
    const common = ends.filter((end) => same.every(({ pair }) => pair.includes(end)));
    // Two agents have each other in common: neither is more to blame.
    if (common.length === 1)
      return fault(same, agents, { one: common[0] ?? 0, others: ends.filter((e) => e !== common[0]) });
    const byPair = Map.groupBy(same, ({ pair }) => pair.toSorted((a, b) => a - b).join(' '));
    return [...byPair.values()].flatMap((both) => {
      const [a = 0, b = 0] = both[0]?.pair.toSorted((x, y) => x - y) ?? [];
      return fault(both, agents, { one: a, others: [b] });
    });
  });
}

function fault(
  holes: readonly Hole[],
  agents: readonly ProbedAgent[],
  between: { readonly one: number; readonly others: readonly number[] },
): NetworkFault[] {
  const [first] = holes;
  const agentOf = (index: number): ProbedAgent | undefined => agents.find(({ workerIndex }) => workerIndex === index);
  const one = agentOf(between.one);
  const others = between.others.toSorted((a, b) => a - b).flatMap((index) => agentOf(index) ?? []);
  const [other] = others;
  if (!first || !one || !other) return [];
  const names = others.length === 1 ? namedAgent(other) : `workers ${others.map((o) => o.workerIndex).join(', ')}`;
  const interfaces = [...new Set([one, ...others].map(({ place }) => place?.interfaceName ?? ''))];
  const where = interfaces.length === 1 ? `${interfaces[0]} of all of them` : interfaces.join(' and ');
  return [
    {
      kind: 'mtu-hole',
      pairs: holes.map(({ pair }) => pair),
      message: `packets of ${first.packetBytes} bytes between ${namedAgent(one)} and ${names} vanish, those of ${first.crossedBytes} cross: give ${where} an MTU of ${first.crossedBytes}, or let ICMP "fragmentation needed" (IPv6: "packet too big") pass`,
    },
  ];
}
