import type { ObjectRef } from '@skein/actor';
import type { MessageBus } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { FormationError } from '../errors.ts';
import { REFERENCE_PORT } from '../network/dial.ts';
import { networkFaults } from './network-faults.ts';
import { joinedViews, type NetworkView, networkTable, type ProbedAgent, type ProbedPair } from './network-view.ts';
import { type PairReport, PreflightActor, preflightSubject } from './preflight-actor.ts';

// All of it ends within 10 s, whatever hangs.
const OPEN_MS = 1000;
const PROBE_MS = 6500;
const SEEK_MS = 1500;
const CLOSE_MS = 1000;
/** An agent looks for so many ways round; more faults than that are told by fewer. */
const SOUGHT_MAX = 8;
const FAULTS_SHOWN_MAX = 8;

/** A member's agent; several members may share one. */
export interface PreflightMember {
  readonly agent: Identity;
  readonly advert: { readonly workerIndex: number; readonly hostId: string; readonly host: string };
}

type PreflightHandle = ReturnType<typeof PreflightActor.handle>;

interface Prober extends ProbedAgent {
  readonly hostId: string;
  readonly referencePort: number;
  readonly handle: PreflightHandle;
}

/** The leader's part of the preflight: every pair of agents on different hosts, before ranks load. One for a group: its
 *  replicas may share agents, and are looked at one after another. */
export class Preflight {
  readonly #bus: MessageBus;
  readonly #group: string;
  readonly #brokerPort: number | null;
  readonly #logger: Logger;
  /** By the agents that were looked at. */
  readonly #checked = new Map<string, { readonly view: NetworkView; readonly incarnations: ReadonlySet<string> }>();
  #turn: Promise<unknown> = Promise.resolve();

  /** `brokerPort`: of a broker on the leader's own address, which all members have reached; null for one elsewhere. */
  constructor(
    bus: MessageBus,
    options: { readonly group: string; readonly brokerPort: number | null; readonly logger: Logger },
  ) {
    this.#bus = bus;
    this.#group = options.group;
    this.#brokerPort = options.brokerPort;
    this.#logger = options.logger;
  }

  /** The latest; null before any, and for a group on one host. */
  get view(): NetworkView | null {
    return this.#checked.size === 0 ? null : joinedViews([...this.#checked.values()].map(({ view }) => view));
  }

  /** Probes, unless these very agents were found well. @returns within 10 s of its turn. @throws FormationError ERR_PREFLIGHT
   *  naming each fault with its remedy, or the signal's reason. */
  async check(members: readonly PreflightMember[], signal: AbortSignal): Promise<void> {
    const turn = this.#turn.then(() => this.#check(this.#probers(members), signal));
    this.#turn = turn.catch(() => {});
    await turn;
  }

  async #check(agents: readonly Prober[], signal: AbortSignal): Promise<void> {
    const key = agents.map(({ workerIndex }) => workerIndex).join(' ');
    const hosts = new Set(agents.map(({ hostId }) => hostId)).size;
    if (hosts < 2) {
      this.#checked.delete(key);
      return;
    }
    const before = this.#checked.get(key);
    if (before?.view.faults.length === 0 && agents.every(({ agent }) => before.incarnations.has(agent.incarnation)))
      return;
    const startMs = performance.now();
    const view = await probeAll(agents, signal);
    this.#checked.set(key, { view, incarnations: new Set(agents.map(({ agent }) => agent.incarnation)) });
    const seconds = Math.round(performance.now() - startMs) / 1000;
    const table = networkTable(view);
    if (view.faults.length === 0) {
      this.#logger.info({ hosts, seconds }, `preflight: every pair of hosts is well\n${table}`);
      return;
    }
    this.#logger.error({ hosts, seconds, faults: view.faults.length }, `preflight: faults\n${table}`);
    throw preflightError(view);
  }

  #probers(members: readonly PreflightMember[]): Prober[] {
    const byAgent = new Map(members.map((member) => [member.agent.incarnation, member]));
    return [...byAgent.values()].map(({ agent, advert: { workerIndex, hostId, host } }) => ({
      agent,
      workerIndex,
      hostId,
      host,
      place: null,
      problem: '',
      referencePort: (workerIndex === 0 ? this.#brokerPort : null) ?? REFERENCE_PORT,
      handle: PreflightActor.handle(this.#bus, preflightSubject(this.#group, workerIndex, agent)),
    }));
  }
}

function preflightError({ faults }: NetworkView): FormationError {
  const shown = faults.slice(0, FAULTS_SHOWN_MAX).map(({ message }) => message);
  const more = faults.length > shown.length ? [`and ${faults.length - shown.length} more`] : [];
  return new FormationError('ERR_PREFLIGHT', `preflight: ${[...shown, ...more].join('; ')}`, {
    details: { faults: faults.map(({ kind, pairs }) => ({ kind, pairs })) },
  });
}

async function probeAll(agents: readonly Prober[], signal: AbortSignal): Promise<NetworkView> {
  try {
    const opened = await Promise.all(agents.map((agent) => openAgent(agent, signal)));
    const probed = await Promise.all(opened.map((agent) => probeFrom(agent, opened, signal)));
    const reported = probed.flatMap(({ pairs }) => pairs);
    const pairs = (await Promise.all(opened.map((agent) => seekFrom(agent, opened, { reported, signal })))).flat();
    const seen = probed.map(({ agent }) => agent);
    return { agents: seen, pairs, faults: networkFaults(seen, pairs) };
  } finally {
    // Those that hear of it stop listening; the others do so by themselves.
    for (const { handle } of agents) handle.close.options({ deadlineMs: CLOSE_MS }).remote({});
  }
}

async function openAgent(agent: Prober, signal: AbortSignal): Promise<Prober> {
  const opened = await outcome(agent.handle.open.options({ deadlineMs: OPEN_MS }).remote({}), signal);
  return 'value' in opened ? { ...agent, place: opened.value } : { ...agent, problem: opened.problem };
}

/** Has an agent dial all others that are on other hosts. */
async function probeFrom(
  agent: Prober,
  all: readonly Prober[],
  signal: AbortSignal,
): Promise<{ readonly agent: Prober; readonly pairs: readonly ProbedPair[] }> {
  const peers = all.flatMap(({ workerIndex: worker, hostId, place, referencePort }) =>
    hostId === agent.hostId || !place
      ? []
      : [{ worker, address: place.address, port: place.port, mtu: place.mtu, referencePort }],
  );
  if (!agent.place || peers.length === 0) return { agent, pairs: [] };
  const reports = await outcome(agent.handle.probe.options({ deadlineMs: PROBE_MS }).remote({ peers }), signal);
  if ('problem' in reports) return { agent: { ...agent, problem: reports.problem }, pairs: [] };
  const pairs = reports.value.map((report) => ({ from: agent.workerIndex, to: report.worker, report, detour: null }));
  return { agent, pairs };
}

/** Has an agent look for other ways to those it could not reach. @returns its pairs, with what it found. */
async function seekFrom(
  agent: Prober,
  all: readonly Prober[],
  of: { readonly reported: readonly ProbedPair[]; readonly signal: AbortSignal },
): Promise<ProbedPair[]> {
  const own = of.reported.filter(({ from }) => from === agent.workerIndex);
  const peers = own.filter(({ report }) => isUnreached(report)).slice(0, SOUGHT_MAX);
  if (peers.length === 0) return own;
  const asked = peers.map(({ to: worker }) => {
    const place = all.find(({ workerIndex }) => workerIndex === worker)?.place;
    return { worker, addresses: [place?.address ?? '', ...(place?.others ?? []).map(({ address }) => address)] };
  });
  const found = await outcome(agent.handle.seek.options({ deadlineMs: SEEK_MS }).remote({ peers: asked }), of.signal);
  const detours = 'value' in found ? found.value : [];
  return own.map((pair) => ({ ...pair, detour: detours.find(({ worker }) => worker === pair.to) ?? null }));
}

function isUnreached({ dial, hostAnswers }: PairReport): boolean {
  return dial !== 'connected' && !hostAnswers;
}

/** @throws the signal's reason alone. */
async function outcome<T>(
  call: ObjectRef<T>,
  signal: AbortSignal,
): Promise<{ readonly value: T } | { readonly problem: string }> {
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    signal.throwIfAborted();
    return { value: await call };
  } catch (error) {
    signal.throwIfAborted();
    return { problem: error instanceof Error ? error.message : String(error) };
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
