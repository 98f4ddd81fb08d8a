import { hostAnswers } from '../network/dial.ts';
import { segmentBytes } from '../network/host-network.ts';
import { ProbeConnection, type ProbeTarget } from './probe-connection.ts';
import { LENGTH_BYTES } from './probe-wire.ts';

// The steps of one pair, each with a deadline of its own. An address that nobody has takes three seconds to be told so.
const DIAL_MS = 3500;
const REFERENCE_MS = 1000;
const PINGS = 5;
/** A peer may be busy with its model's files. */
const PING_MS = 2000;
/** A lost packet is sent again twice in this time; a system that looks for black holes itself takes longer. */
const PACKET_MS = 1300;
const BURST_MS = 50;
const BURST_MESSAGES = 16;
const BURST_MESSAGE_BYTES = 65_536;
const BURST_AHEAD = 8;
const BURST_ANSWER_MS = 1000;

/** MTUs that links and tunnels have, by which a path that swallows larger packets is measured. */
const PATH_MTUS = [
  16_000, 9000, 8951, 8900, 4096, 2048, 1500, 1492, 1480, 1476, 1462, 1460, 1450, 1440, 1430, 1420, 1410, 1400, 1390,
  1380, 1360, 1340, 1320, 1300, 1280, 1200, 1000, 576,
];

export interface Reach {
  /** `connected`, `timeout`, or what the system said. */
  readonly dial: string;
  /** After a dial that failed: whether the host answers on another port. */
  readonly hostAnswers: boolean;
  /** What went wrong on a connection that was made; '' for nothing. */
  readonly problem: string;
  /** Median; null without a connection. */
  readonly rttUs: number | null;
  /** The full-size packet that was tried, IP header included. */
  readonly packetBytes: number | null;
  /** The largest that crossed; `packetBytes` where all is well. Null exactly when that is. */
  readonly crossedBytes: number | null;
}

/** Dials, measures the round trip, and has one full-size packet cross. @returns with the connection when all of it went well,
 *  for `measureBandwidth`; the caller disposes of it. */
export async function reachPeer(
  target: ProbeTarget,
  about: { readonly packetBytes: number; readonly referencePort: number },
): Promise<{ readonly reach: Reach; readonly connection: ProbeConnection | null }> {
  const { packetBytes, referencePort } = about;
  const nothing: Reach = {
    dial: 'connected',
    hostAnswers: true,
    problem: '',
    rttUs: null,
    packetBytes: null,
    crossedBytes: null,
  };
  let opened;
  try {
    opened = await ProbeConnection.open(target, DIAL_MS);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { reach: { ...nothing, problem }, connection: null };
  }
  if ('failure' in opened) {
    const { address, localAddress } = target;
    const answers = await hostAnswers({ address, port: referencePort, localAddress }, REFERENCE_MS);
    return { reach: { ...nothing, dial: opened.failure, hostAnswers: answers }, connection: null };
  }
  const { connection } = opened;
  const rttUs = await roundTripUs(connection);
  if (rttUs === null) {
    connection[Symbol.dispose]();
    return { reach: { ...nothing, problem: `no answer to a ping within ${PING_MS} ms` }, connection: null };
  }
  if (await connection.send(segmentBytes(packetBytes, target.address), PACKET_MS))
    return { reach: { ...nothing, rttUs, packetBytes, crossedBytes: packetBytes }, connection };
  connection[Symbol.dispose]();
  const crossedBytes = await largestCrossing(target, packetBytes);
  if (crossedBytes === null) {
    const problem = `packets of ${packetBytes} bytes and of all sizes below got no answer within ${PACKET_MS} ms`;
    return { reach: { ...nothing, rttUs, problem }, connection: null };
  }
  return { reach: { ...nothing, rttUs, packetBytes, crossedBytes }, connection: null };
}

async function roundTripUs(connection: ProbeConnection): Promise<number | null> {
  const times: number[] = [];
  for (let i = 0; i < PINGS; i++) {
    const startMs = performance.now();
    if (!(await connection.send(LENGTH_BYTES, PING_MS))) return null;
    times.push((performance.now() - startMs) * 1000);
  }
  times.sort((a, b) => a - b);
  return Math.round(times[PINGS >> 1] ?? 0);
}

/** All sizes at once, each on a connection of its own: one that is lost stands in its connection's way. The largest is tried
 *  again, since the first time may have found a peer that was busy. */
async function largestCrossing(target: ProbeTarget, packetBytes: number): Promise<number | null> {
  const crossed = await Promise.all(
    [packetBytes, ...PATH_MTUS.filter((size) => size < packetBytes)].map(async (size) => {
      const opened = await ProbeConnection.open(target, PACKET_MS).catch(() => null);
      if (opened === null || 'failure' in opened) return null;
      using connection = opened.connection;
      return (await connection.send(segmentBytes(size, target.address), PACKET_MS)) ? size : null;
    }),
  );
  return crossed.find((size) => size !== null) ?? null;
}

/** Bytes per second of a burst of 1 MiB, or of 50 ms where that takes longer; null when its end was not answered in time. */
export async function measureBandwidth(connection: ProbeConnection): Promise<number | null> {
  const startMs = performance.now();
  const underWay: Promise<boolean>[] = [];
  let sent = 0;
  for (; sent < BURST_MESSAGES && performance.now() - startMs < BURST_MS; sent++) {
    if (underWay.length === BURST_AHEAD && !(await underWay.shift())) return null;
    underWay.push(connection.send(BURST_MESSAGE_BYTES, BURST_ANSWER_MS));
  }
  const arrived = await Promise.all(underWay);
  const seconds = (performance.now() - startMs) / 1000;
  return arrived.every(Boolean) ? Math.round((sent * BURST_MESSAGE_BYTES) / seconds) : null;
}
