import type { Identity, NetworkTopology } from '@skein/protocol';
import type { NetworkFault } from './network-faults.ts';
import type { Detour, PairReport, Place } from './preflight-actor.ts';

/** An agent of the group, as the preflight sees it. */
export interface ProbedAgent {
  readonly workerIndex: number;
  readonly host: string;
  readonly agent: Identity;
  /** Null when it did not say. */
  readonly place: Place | null;
  /** Why there is no place, or no report; '' for nothing. */
  readonly problem: string;
}

/** One direction between two agents. */
export interface ProbedPair {
  readonly from: number;
  readonly to: number;
  readonly report: PairReport;
  readonly detour: Detour | null;
}

/** For messages. */
export function namedAgent({ workerIndex, host, place }: ProbedAgent): string {
  return `worker ${workerIndex} (${host}${place ? `, ${place.interfaceName} ${place.address}` : ''})`;
}

/** The preflight's matrix and what it means. */
export interface NetworkView {
  readonly agents: readonly ProbedAgent[];
  readonly pairs: readonly ProbedPair[];
  readonly faults: readonly NetworkFault[];
}

/** Of views of overlapping sets of agents; of what several have, the last counts. */
export function joinedViews(views: readonly NetworkView[]): NetworkView {
  const joined = <T>(list: readonly T[], key: (item: T) => string): T[] => [
    ...new Map(list.map((item) => [key(item), item])).values(),
  ];
  return {
    agents: joined(
      views.flatMap(({ agents }) => agents),
      ({ workerIndex }) => String(workerIndex),
    ).sort((a, b) => a.workerIndex - b.workerIndex),
    pairs: joined(
      views.flatMap(({ pairs }) => pairs),
      ({ from, to }) => `${from} ${to}`,
    ),
    faults: joined(
      views.flatMap(({ faults }) => faults),
      ({ message }) => message,
    ),
  };
}

export function networkTopology(view: NetworkView): NetworkTopology {
  const { agents, pairs, faults } = view;
  return {
    agents: agents.flatMap(({ workerIndex, host, place }) =>
      place
        ? [
            {
              workerIndex,
              host,
              interface: place.interfaceName,
              address: place.address,
              why: place.why,
              mtu: place.mtu,
            },
          ]
        : [],
    ),
    pairs: pairs.map(({ from, to, report: { rttUs, bytesPerSecond, crossedBytes } }) => ({
      from,
      to,
      fault: faultBetween(view, from, to),
      rttUs,
      bytesPerSecond,
      packetBytes: crossedBytes,
    })),
    faults: faults.map(({ message }) => message),
  };
}

/** The matrix for people: a row for each agent that dialled, a column for each that was dialled. */
export function networkTable(view: NetworkView): string {
  const { agents, pairs } = view;
  const indices = agents.map(({ workerIndex }) => workerIndex);
  const rows = [
    ['from \\ to', ...indices.map(String)],
    ...agents.map(({ workerIndex: from, place }) => [
      `${from} ${place ? `${place.interfaceName} ${place.address}` : 'no address'}`,
      ...indices.map((to) => {
        const fault = faultBetween(view, from, to);
        if (fault !== null) return fault.toUpperCase();
        const pair = pairs.find((p) => p.from === from && p.to === to);
        return pair ? cell(pair) : '-';
      }),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function cell({ report: { rttUs, bytesPerSecond, crossedBytes } }: ProbedPair): string {
  const parts = [
    rttUs === null ? '' : `${(rttUs / 1000).toFixed(2)} ms`,
    bytesPerSecond === null ? '' : `${((bytesPerSecond * 8) / 1e9).toFixed(2)} Gb/s`,
    crossedBytes === null ? '' : `${crossedBytes} B`,
  ];
  return parts.filter((part) => part !== '').join(' ');
}

/** A direction that only suffers from a fault of another is `no-answer`. */
function faultBetween({ pairs, faults }: NetworkView, from: number, to: number): NetworkFault['kind'] | null {
  const fault = faults.find((known) => known.pairs.some((pair) => pair[0] === from && pair[1] === to));
  if (fault) return fault.kind;
  const pair = pairs.find((p) => p.from === from && p.to === to);
  return pair && pair.report.dial !== 'connected' ? 'no-answer' : null;
}
