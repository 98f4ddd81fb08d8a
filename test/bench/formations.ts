import { readCheckpointTensors } from '@skein/models';
import { type Served, skein, serving, topology } from '../support/cluster.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { cachedCheckpoint } from './cached-checkpoint.ts';
import { HttpLoad } from './http-load.ts';
import { type Ceilings, measureCeilings } from './peers/ceilings.ts';
import { median } from './statistics.ts';

const ROUNDS = 5;
/** Of a request: one stream alone takes about as long as many then. */
const maxTokens = (streams: number): number => (streams === 1 ? 192 : 48);
const SHAPE = 'llama-3.2-1b';
const FLAGS = ['--kv-cache-memory-bytes', String(256 * 2 ** 20), '--max-model-len', '1024', '--log-level', 'warn'];

/** The same two cores in three ways. Each batch in flight reads all weights. */
const FORMATIONS = {
  '1 rank of 2 threads': { flags: ['--threads', '2'], batches: 1 },
  'tp 2 of 1 thread': { flags: ['--tp', '2', '--threads', '1'], batches: 1 },
  'pp 2 of 1 thread': { flags: ['--pp', '2', '--threads', '1'], batches: 2 },
} as const;
type Name = keyof typeof FORMATIONS;

const PEER: Name = '1 rank of 2 threads';
const CASES: readonly { readonly name: Name; readonly streams: number; readonly goal: number }[] = [
  { name: 'tp 2 of 1 thread', streams: 1, goal: 0.9 },
  { name: 'pp 2 of 1 thread', streams: 16, goal: 0.9 },
  { name: 'pp 2 of 1 thread', streams: 32, goal: 0.95 },
];

interface Measured {
  readonly tokensPerSecond: number;
  /** Of each rank: time of the load in which it computed nothing. */
  readonly idleShares: readonly number[];
}

/** Rate of decoding with one model split in different ways over the same two cores, one server at a time, in turns. */
export async function formations(progress: (line: string) => void): Promise<BenchResult[]> {
  const dir = await cachedCheckpoint(SHAPE, progress);
  const tensors = await readCheckpointTensors(dir);
  const weightBytes = [...tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const ceilings: Ceilings[] = [];
  const samples = new Map<string, Measured[]>();
  const names = Object.keys(FORMATIONS) as Name[];
  for (let round = 0; round <= ROUNDS; round++) {
    ceilings.push(await measureCeilings());
    // Each comes first in turn; the first round warms up.
    for (const name of [...names.slice(round % names.length), ...names.slice(0, round % names.length)]) {
      await using server = await serving((port) =>
        skein(['serve', dir, '--port', String(port), ...FORMATIONS[name].flags, ...FLAGS]),
      );
      for (const streams of new Set(CASES.filter((c) => name === PEER || c.name === name).map((c) => c.streams))) {
        const measured = await measure(server, streams);
        progress(
          `round ${round} of ${ROUNDS}: ${name}, ${streams} streams: ${measured.tokensPerSecond.toFixed(1)} tok/s`,
        );
        if (round === 0) continue;
        const key = `${name}, ${streams}`;
        samples.set(key, [...(samples.get(key) ?? []), measured]);
      }
    }
  }
  return CASES.flatMap(({ name, streams, goal }) => {
    const [own, peer] = [samples.get(`${name}, ${streams}`) ?? [], samples.get(`${PEER}, ${streams}`) ?? []];
    const rates = (of: readonly Measured[]): number[] => of.map(({ tokensPerSecond }) => tokensPerSecond);
    const load = `${streams} stream${streams > 1 ? 's' : ''}`;
    const ratio = median(own.map((m, i) => m.tokensPerSecond / (peer[i]?.tokensPerSecond ?? Number.NaN)));
    const limit = (of: Name): number => median(ceilings.map((c) => limitOf(of, streams, weightBytes, c)));
    return [
      benchResult({
        name: `${name}, ${load}`,
        value: median(rates(own)),
        unit: 'tok/s',
        peer: PEER,
        peerValue: median(rates(peer)),
        ratio,
        goal,
        limit: limit(name),
      }),
      benchResult({
        name: `${name}, ${load}, limit beside the peer's`,
        value: limit(name) / limit(PEER),
        unit: 'ratio',
      }),
      ...(own[0]?.idleShares ?? []).map((_, rank) =>
        benchResult({
          name: `${name}, ${load}, idle share of rank ${rank}`,
          value: median(own.map(({ idleShares }) => idleShares[rank] ?? Number.NaN)),
          unit: 'of the time',
        }),
      ),
    ];
  });
}

/** Tokens a second when steps take only as long as reading the weights, or as multiplying them, whichever is longer. A bf16
 *  weight is two bytes, and two operations a row. */
function limitOf(name: Name, streams: number, weightBytes: number, { readGBps, fmaGflops }: Ceilings): number {
  const { batches } = FORMATIONS[name];
  const operations = (weightBytes * streams) / batches;
  return streams / batches / Math.max(weightBytes / readGBps / 1e9, operations / fmaGflops / 1e9);
}

/** While all streams decode: prompts fill a pipeline in a few lumps, and say nothing of what follows. */
async function measure({ url }: Served, streams: number): Promise<Measured> {
  await using load = new HttpLoad();
  const ask = (id: string, tokens: number): object => ({
    messages: [{ role: 'user', content: id }],
    max_tokens: tokens,
    temperature: 0,
    ignore_eos: true,
    skip_special_tokens: false,
  });
  await load.stream(url, ask('warm-up', 4));
  let numDecoding = 0;
  const decoding = Promise.withResolvers<void>();
  const onFirstToken = (): void => {
    numDecoding += 1;
    if (numDecoding === streams) decoding.resolve();
  };
  const running = Array.from({ length: streams }, (_, i) =>
    load.stream(url, ask(`${i}`, maxTokens(streams)), onFirstToken),
  );
  await decoding.promise;
  const startMs = performance.now();
  const before = await computeUs(url);
  await Promise.race(running);
  const after = await computeUs(url);
  const ms = performance.now() - startMs;
  const timings = await Promise.all(running);
  return {
    tokensPerSecond: timings.reduce((sum, { tokenGapsMs }) => sum + 1000 / median(tokenGapsMs), 0),
    idleShares: after.map((us, rank) => Math.max(0, 1 - (us - (before[rank] ?? 0)) / 1000 / ms)),
  };
}

/** So far, by rank. */
async function computeUs(url: string): Promise<number[]> {
  return (await topology(url)).groups.flatMap(({ ranks }) => ranks.map((rank) => rank.computeUs));
}
