import { type DialFault, dialFault } from '../network/dial.ts';
import { mtuHoles } from './mtu-holes.ts';
import { namedAgent, type ProbedAgent, type ProbedPair } from './network-view.ts';

export interface NetworkFault {
  readonly kind: DialFault | 'wrong-interface' | 'mtu-hole' | 'broken' | 'unanswered';
  /** From and to, by worker index. */
  readonly pairs: readonly (readonly [from: number, to: number])[];
  /** The fault with its values, and the remedy. */
  readonly message: string;
}

/** What is wrong between agents, each fault once. What another fault explains is left out: who cannot send back an answer is
 *  not also said to be silent. */
export function networkFaults(agents: readonly ProbedAgent[], pairs: readonly ProbedPair[]): NetworkFault[] {
  const judged = pairs.flatMap((pair) => judge(pair, agents, pairs) ?? []);
  const faults = [...merged(judged), ...mtuHoles(agents, pairs)];
  const explained = faults.filter((fault) => !faults.some((other) => other !== fault && explains(other, fault)));
  const unanswered = agents
    .filter(({ problem, workerIndex }) => problem !== '' && !explained.some((fault) => concerns(fault, workerIndex)))
    .map(({ workerIndex, host, problem }): NetworkFault => ({
      kind: 'unanswered',
      pairs: agents.flatMap((other) =>
        other.workerIndex === workerIndex ? [] : [[workerIndex, other.workerIndex] as const],
      ),
      message: `worker ${workerIndex} (${host}) took no part in the preflight: ${problem}`,
    }));
  return [...explained, ...unanswered];
}

interface Judged extends NetworkFault {
  /** Equal for one fault seen from several sides. */
  readonly key: string;
  /** Of several sides: joins what each adds. */
  readonly join?: (pairs: NetworkFault['pairs']) => string;
}

function judge(pair: ProbedPair, agents: readonly ProbedAgent[], all: readonly ProbedPair[]): Judged | null {
  const from = agents.find(({ workerIndex }) => workerIndex === pair.from);
  const to = agents.find(({ workerIndex }) => workerIndex === pair.to);
  if (!from?.place || !to?.place) return null;
  const { report } = pair;
  const pairs = [[pair.from, pair.to] as const];
  if (report.dial !== 'connected') {
    const back = all.find((other) => other.from === pair.to && other.to === pair.from);
    // A connection needs packets both ways, so the addresses reach each other and this port alone does not.
    const kind = dialFault(report.dial, report.hostAnswers || back?.report.dial === 'connected');
    if (kind !== 'blocked-port') {
      const wrong = wrongInterface(pair, from, to);
      if (wrong) return wrong;
    }
    return { kind, pairs, key: `${kind} ${pair.from} ${pair.to}`, message: dialMessage(kind, report.dial, from, to) };
  }
  if (report.problem !== '') {
    const message = `the probe of ${namedAgent(to)} by ${namedAgent(from)} failed on an open connection: ${report.problem}; something on the way cuts connections off`;
    return { kind: 'broken', pairs, key: `broken ${pair.from} ${pair.to}`, message };
  }
  // Holes are told of in `mtuHoles`.
  return null;
}

function dialMessage(kind: DialFault, failure: string, from: ProbedAgent, to: ProbedAgent): string {
  const { address = '', port = 0, localPorts = '' } = to.place ?? {};
  const said = failure === 'timeout' ? 'no answer' : failure;
  switch (kind) {
    case 'no-route':
      return `${namedAgent(from)} has no route to ${namedAgent(to)}: ${said}; add the route, or choose with --interface a network that all members share`;
    case 'blocked-port':
      return `port ${port} of ${address} is blocked between ${namedAgent(from)} and ${namedAgent(to)}: ${said}, though the host itself answers; let TCP between the members pass, ports ${localPorts} included, on which ranks listen`;
    case 'no-answer':
      return `nothing answers ${namedAgent(from)} at ${namedAgent(to)}, neither port ${port} nor any other: add the route back, or let TCP between the members pass`;
  }
}

/** The end that is to blame, when a detour shows one. */
function wrongInterface({ detour }: ProbedPair, from: ProbedAgent, to: ProbedAgent): Judged | null {
  if (!detour || detour.address === null || !from.place || !to.place) return null;
  const isTo = detour.address !== to.place.address;
  const [culprit, peer, place] = isTo ? [to, from, to.place] : [from, to, from.place];
  const better = isTo
    ? to.place.others.find(({ address }) => address === detour.address)?.name
    : (detour.interfaceName ?? undefined);
  if (better === undefined || better === place.interfaceName) return null;
  const join = (pairs: NetworkFault['pairs']): string => {
    const others = [...new Set(pairs.flat())].filter((index) => index !== culprit.workerIndex).sort((a, b) => a - b);
    return `worker ${culprit.workerIndex} (${culprit.host}) uses ${place.interfaceName} ${place.address} (${place.why}), over which it and ${others.length === 1 ? 'worker' : 'workers'} ${others.join(', ')} do not reach each other; over ${better} they do: start it with --interface ${better} (SKEIN_INTERFACE=${better})`;
  };
  const pairs = [[from.workerIndex, to.workerIndex] as const];
  return {
    kind: 'wrong-interface',
    pairs,
    key: `wrong-interface ${culprit.workerIndex} ${better}`,
    message: join([[culprit.workerIndex, peer.workerIndex]]),
    join,
  };
}

function merged(judged: readonly Judged[]): NetworkFault[] {
  const byKey = Map.groupBy(judged, ({ key }) => key);
  return [...byKey.values()].flatMap((same) => {
    const [first] = same;
    if (!first) return [];
    const pairs = same.flatMap((fault) => fault.pairs);
    return [{ kind: first.kind, pairs, message: first.join?.(pairs) ?? first.message }];
  });
}

function explains(cause: NetworkFault, effect: NetworkFault): boolean {
  if (effect.kind !== 'no-answer' && effect.kind !== 'no-route') return false;
  const [pair] = effect.pairs;
  if (!pair) return false;
  const [from, to] = pair;
  if (cause.kind === 'wrong-interface') return cause.pairs.some((p) => p.includes(from) && p.includes(to));
  const isNearer = cause.kind === 'no-route' || cause.kind === 'blocked-port';
  return effect.kind === 'no-answer' && isNearer && cause.pairs.some((p) => p[0] === to && p[1] === from);
}

function concerns(fault: NetworkFault, worker: number): boolean {
  return fault.pairs.some((pair) => pair.includes(worker));
}
