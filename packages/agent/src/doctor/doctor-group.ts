import type { LeaseWatch, MessageBus } from '@skein/message-bus';
import { type Identity, subjects } from '@skein/protocol';
import { silentLogger } from '@skein/telemetry';
import { z } from 'zod';
import { FormationError } from '../errors.ts';
import { LEASE_TTL_MS } from '../leases.ts';
import { Preflight } from '../preflight/preflight.ts';
import { type NetworkView, networkTable } from '../preflight/network-view.ts';
import { preflightSubject } from '../preflight/preflight-actor.ts';
import { untilAborted } from '../until-aborted.ts';
import { type Check, checkSchema, fail, ok } from './check.ts';

const VERDICT_MS = 2000;
/** After all doctors have come: the preflight ends within 10 s. */
const LEADER_MS = 15_000;

const patientSchema = z.object({
  workerIndex: z.int().min(0),
  hostId: z.string().max(200),
  host: z.string().max(255),
  revision: z.string().max(100),
  /** Of the model's files; null where none is named. */
  fingerprint: z.string().max(200).nullable(),
});
/** What the doctors of a group tell each other. */
export type Patient = z.infer<typeof patientSchema>;

/** What the doctors of a group found together. */
const findingsSchema = z.object({
  checks: z.array(checkSchema).max(4096),
  /** The matrix; '' for none. */
  table: z.string().max(1_000_000),
});
export type GroupFindings = z.infer<typeof findingsSchema>;

export interface DoctorGroup {
  readonly group: string;
  readonly groupSize: number;
  readonly workerIndex: number;
  /** See Preflight. */
  readonly brokerPort: number | null;
  /** How long the leader's doctor waits for the others, and they for it. */
  readonly waitMs: number;
}

interface Doctor {
  readonly agent: Identity;
  readonly advert: Patient;
}

/** The leader's doctor: waits for the others, has every pair probed, and tells all what was found. */
export async function leadDoctors(
  bus: MessageBus,
  { group, groupSize, brokerPort, waitMs }: DoctorGroup,
  signal: AbortSignal,
): Promise<GroupFindings> {
  const doctors = await gathered(bus, { group, groupSize, waitMs }, signal);
  const missing = Array.from({ length: groupSize }, (_, i) => i).filter(
    (index) => !doctors.some(({ advert }) => advert.workerIndex === index),
  );
  const checks = [
    ...(missing.length === 0
      ? [ok('members', `${groupSize} doctors`)]
      : [
          fail(
            'members',
            `no doctor of ${missing.map((index) => `worker ${index}`).join(', ')} came within ${waitMs / 1000} s`,
            `start skein doctor there too, with the same LWS_LEADER_ADDRESS; its own lines say what keeps it`,
          ),
        ]),
    ...differences(doctors),
  ];
  const preflight = new Preflight(bus, { group, brokerPort, logger: silentLogger });
  try {
    await preflight.check(doctors, signal);
  } catch (error) {
    // The faults are told from the view.
    if (!(error instanceof FormationError)) throw error;
  }
  const { view } = preflight;
  const findings: GroupFindings = {
    checks: [...checks, ...networkChecks(view, doctors.length)],
    table: view ? networkTable(view) : '',
  };
  await Promise.allSettled(
    doctors
      .filter(({ advert }) => advert.workerIndex > 0)
      .map(({ agent, advert }) =>
        bus.request(verdictSubject(group, advert.workerIndex, agent), findings, { deadlineMs: VERDICT_MS, signal }),
      ),
  );
  return findings;
}

/** A worker's doctor: is probed, and gets the leader's verdict. Its preflight service must be up. */
export async function followDoctors(
  bus: MessageBus,
  { group, workerIndex, waitMs }: DoctorGroup,
  signal: AbortSignal,
): Promise<GroupFindings> {
  const got = Promise.withResolvers<GroupFindings>();
  const served = bus.serve(verdictSubject(group, workerIndex, bus.identity), async ({ data }) => {
    got.resolve(findingsSchema.parse(data));
    return null;
  });
  const deadlineMs = waitMs + LEADER_MS;
  const deadline = AbortSignal.timeout(deadlineMs);
  try {
    return await untilAborted(got.promise, AbortSignal.any([signal, deadline]));
  } catch (error) {
    if (!deadline.aborted) throw error;
    const missing = fail(
      'network',
      `the leader's doctor gave no verdict within ${deadlineMs / 1000} s`,
      'start skein doctor on the leader too; its lines say what it found',
    );
    return { checks: [missing], table: '' };
  } finally {
    served.close();
  }
}

/** Makes this doctor known to the leader's. */
export function announceDoctor(bus: MessageBus, group: string, patient: Patient): Disposable {
  const lease = bus.announce(`${subjects.doctors(group)}.${patient.workerIndex}`, patient, { ttlMs: LEASE_TTL_MS });
  return { [Symbol.dispose]: () => lease.close() };
}

function verdictSubject(group: string, workerIndex: number, doctor: Identity): string {
  return `${preflightSubject(group, workerIndex, doctor)}.verdict`;
}

/** The doctors that are there as soon as all are, or when the wait is over. */
async function gathered(
  bus: MessageBus,
  { group, groupSize, waitMs }: Pick<DoctorGroup, 'group' | 'groupSize' | 'waitMs'>,
  signal: AbortSignal,
): Promise<Doctor[]> {
  const complete = Promise.withResolvers<void>();
  let watch: LeaseWatch | null = null;
  const present = (): Doctor[] =>
    [...(watch?.members.values() ?? [])].flatMap(({ from, value }) => {
      const advert = patientSchema.safeParse(value);
      return advert.success && advert.data.workerIndex < groupSize ? [{ agent: from, advert: advert.data }] : [];
    });
  const look = (): void => {
    if (present().length >= groupSize) complete.resolve();
  };
  watch = bus.watch(subjects.doctors(group), look);
  look();
  const deadline = AbortSignal.timeout(waitMs);
  try {
    await untilAborted(complete.promise, AbortSignal.any([signal, deadline]));
  } catch (error) {
    if (!deadline.aborted) throw error;
  }
  const doctors = present().sort((a, b) => a.advert.workerIndex - b.advert.workerIndex);
  watch.close();
  return doctors;
}

/** What must be the same everywhere. */
function differences(doctors: readonly Doctor[]): Check[] {
  const [first] = doctors;
  return doctors.flatMap(({ advert }) => {
    if (!first) return [];
    const { workerIndex, revision, fingerprint } = advert;
    const to = `worker ${first.advert.workerIndex}`;
    return [
      ...(revision === first.advert.revision
        ? []
        : [
            fail(
              'revision',
              `worker ${workerIndex} runs revision ${revision}, ${to} runs ${first.advert.revision}`,
              'start all from one image',
            ),
          ]),
      ...(fingerprint === first.advert.fingerprint || fingerprint === null || first.advert.fingerprint === null
        ? []
        : [
            fail(
              'model',
              `worker ${workerIndex} has model ${fingerprint}, ${to} has ${first.advert.fingerprint}`,
              'give every agent the same files',
            ),
          ]),
    ];
  });
}

function networkChecks(view: NetworkView | null, members: number): Check[] {
  if (view === null) return members > 1 ? [ok('network', 'all members share one host')] : [];
  if (view.faults.length === 0) return [ok('network', 'every pair of hosts is well')];
  return view.faults.map(({ message }) => fail('network', message, null));
}
