import { hostname } from 'node:os';
import type { MessageBus } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { natsBus } from '../bus.ts';
import { LeaderNotFoundError } from '../errors.ts';
import { hostId, isLoopback, natsUrlOf, resolveLeader } from '../host.ts';
import { Broker } from '../leader/broker.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { ChosenInterface } from '../network/choose-interface.ts';
import { hostInterface } from '../network/host-network.ts';
import { unreachable } from '../network/reach-leader.ts';
import { servePreflight } from '../preflight/preflight-service.ts';
import { type Check, fail, ok, reasonOf } from './check.ts';
import { announceDoctor, followDoctors, type GroupFindings, leadDoctors } from './doctor-group.ts';
import { machineChecks } from './machine-checks.ts';
import { modelCheck } from './model-check.ts';

/** A broker that is there already answers at once. */
const RUNNING_BROKER_MS = 3000;
/** Any machine without a leader: no packet is sent there, but the default route leads to it. */
const OUTSIDE = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' };

export interface DoctorOptions {
  /** Null: this machine alone. */
  readonly place: GroupPlace | null;
  /** Folder or GGUF file; null checks none. */
  readonly model: string | null;
  readonly interfaces: readonly string[] | null;
  readonly groupKey: string | null;
  readonly natsUrl: string | null;
  readonly natsPort: number;
  readonly revision: string;
  /** How long the leader's doctor waits for the others, and they for it. */
  readonly waitMs: number;
}

/** Looks at this machine, and in a group at the network between its members. Faults are findings, and no errors.
 *  @throws the signal's reason. */
export async function examine(options: DoctorOptions, logger: Logger, signal: AbortSignal): Promise<GroupFindings> {
  const { place, interfaces } = options;
  const model = options.model === null ? null : await modelCheck(options.model);
  const models = model ? [model.check] : [];
  if (place === null) {
    const found = await ownInterface(interfaces);
    return { checks: [...(await machineChecks(found.chosen)), ...models, ...found.checks], table: '' };
  }
  const leader = await leaderAddress(place, { options, logger, signal });
  if (typeof leader !== 'string')
    return {
      checks: [...(await machineChecks((await ownInterface(interfaces)).chosen)), ...models, leader],
      table: '',
    };
  const found = await interfaceTowards(leader, interfaces);
  const checks = [
    ...(await machineChecks(found.chosen)),
    ...models,
    ok('leader', `${place.leaderAddress} is ${leader}`),
    ...found.checks,
  ];
  const group = await examineGroup({
    place,
    options,
    leader,
    chosen: found.chosen,
    fingerprint: model?.fingerprint ?? null,
    logger,
    signal,
  });
  return { checks: [...checks, ...group.checks], table: group.table };
}

interface Found {
  readonly chosen: ChosenInterface | null;
  readonly checks: readonly Check[];
}

async function interfaceTowards(leader: string, interfaces: readonly string[] | null): Promise<Found> {
  try {
    return { chosen: await hostInterface(leader, interfaces), checks: [] };
  } catch (error) {
    return { chosen: null, checks: [fail('interface', reasonOf(error), null)] };
  }
}

async function ownInterface(interfaces: readonly string[] | null): Promise<Found> {
  const four = await interfaceTowards(OUTSIDE.IPv4, interfaces);
  const six = four.chosen ? four : await interfaceTowards(OUTSIDE.IPv6, interfaces);
  if (!six.chosen) return four;
  const why = interfaces === null ? 'it leads to other hosts' : six.chosen.why;
  return { ...six, chosen: { ...six.chosen, why } };
}

/** The leader's address, or why there is none: at once when no nameserver answers. */
async function leaderAddress(
  place: GroupPlace,
  {
    options,
    logger,
    signal,
  }: { readonly options: DoctorOptions; readonly logger: Logger; readonly signal: AbortSignal },
): Promise<string | Check> {
  const silence = new AbortController();
  try {
    return await resolveLeader(place.leaderAddress, {
      logger,
      signal: AbortSignal.any([signal, silence.signal]),
      deadlineMs: options.waitMs,
      onSilence: (fault) =>
        silence.abort(
          new LeaderNotFoundError(
            'ERR_LEADER_NOT_FOUND',
            `LWS_LEADER_ADDRESS ${place.leaderAddress} does not resolve: ${fault}`,
          ),
        ),
    });
  } catch (error) {
    signal.throwIfAborted();
    return fail('leader', reasonOf(error), null);
  }
}

interface Examined {
  readonly place: GroupPlace;
  readonly options: DoctorOptions;
  readonly leader: string;
  readonly chosen: ChosenInterface | null;
  readonly fingerprint: string | null;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

async function examineGroup(of: Examined): Promise<GroupFindings> {
  const { place, options, chosen, fingerprint, signal } = of;
  const { group, groupSize, workerIndex } = place;
  if (groupSize === 1) return { checks: [], table: '' };
  await using stack = new AsyncDisposableStack();
  let bus;
  try {
    bus = stack.use(await doctorsBus(of, stack));
  } catch (error) {
    signal.throwIfAborted();
    return { checks: [fail('broker', reasonOf(error), null)], table: '' };
  }
  stack.use(servePreflight(bus, { group, workerIndex, groupKey: options.groupKey, chosen }));
  const brokerPort = options.natsUrl === null && options.natsPort > 0 ? options.natsPort : null;
  const about = { group, groupSize, workerIndex, brokerPort, waitMs: options.waitMs };
  const patient = { workerIndex, hostId: hostId(), host: hostname(), revision: options.revision, fingerprint };
  // Whoever is known may get the verdict.
  const verdict = workerIndex === 0 ? null : followDoctors(bus, about, signal);
  stack.use(announceDoctor(bus, group, patient));
  return await (verdict ?? leadDoctors(bus, about, signal));
}

/** The broker that the agents would have: the leader's own, started where none runs, or that of --nats-url. */
async function doctorsBus(of: Examined, stack: AsyncDisposableStack): Promise<MessageBus> {
  const { place, options, leader, logger, signal } = of;
  const { groupKey, natsPort, waitMs } = options;
  const identity = newIdentity(`${place.group}-${place.workerIndex}-doctor`);
  const join = (url: string, deadlineMs: number): Promise<MessageBus> =>
    natsBus(url, { identity, groupKey, logger, deadlineMs, signal });
  if (options.natsUrl !== null) return join(options.natsUrl, waitMs);
  const url = natsUrlOf(leader, natsPort);
  if (place.workerIndex > 0) {
    const fault = await unreachable(leader, natsPort);
    if (fault !== null) throw new LeaderNotFoundError('ERR_LEADER_UNREACHABLE', fault);
    return join(url, waitMs);
  }
  try {
    const bindHost = isLoopback(leader) ? leader : leader.includes(':') ? '::' : '0.0.0.0';
    const broker = await Broker.start({ host: bindHost, port: natsPort, groupKey, logger });
    stack.use(broker);
    return await join(natsUrlOf(leader, broker.port), waitMs);
  } catch (error) {
    // A leader that runs has it.
    return join(url, RUNNING_BROKER_MS).catch(() => Promise.reject(error as Error));
  }
}
