import { cachedCheckpoint } from '../cached-checkpoint.ts';
import { BusyLoops } from './busy-loops.ts';
import { type PeerCase, WEIGHTS, type WeightName } from './cases.ts';
import { between, type Ceilings, measureCeilings } from './ceilings.ts';
import { agreement, type Agreement } from './agreement.ts';
import { CONTEXT, type EngineFacts, LONG_CONTEXT, PREFILL_TOKENS } from './engine.ts';
import { EngineProcess } from './engine-process.ts';
import { cachedGguf } from './gguf-checkpoint.ts';
import type { PeerSample } from './peer-sample.ts';
import { cpuSeconds, machineCpuSeconds } from './processor-time.ts';

const SHAPE = 'llama-3.2-1b';

export interface PeerRun {
  readonly weights: WeightName;
  readonly facts: { readonly skein: EngineFacts; readonly peer: EngineFacts };
  readonly agreement: Agreement;
  /** By the id of the case, a sample a round. */
  readonly samples: ReadonlyMap<string, readonly PeerSample[]>;
  /** The most processor time that an engine took while the other one worked, as a share of one core. */
  readonly idleCoresMax: number;
  readonly ceilings: readonly Ceilings[];
}

/** Measures cases that share weights: both engines stay loaded, and take turns in every round. */
export async function runPeers(
  weights: WeightName,
  options: { readonly cases: readonly PeerCase[]; readonly rounds: number; readonly progress: (line: string) => void },
): Promise<PeerRun> {
  const { cases, rounds, progress } = options;
  const { quantization, gguf } = WEIGHTS[weights];
  const dir = await cachedCheckpoint(SHAPE, progress);
  const file = await cachedGguf(SHAPE, gguf, progress);
  const long = cases.some(({ work }) => work.kind === 'long');
  const streams = Math.max(...cases.map(({ work }) => (work.kind === 'decode' ? work.streams : 1)));
  await using skein = new EngineProcess('skein');
  await using peer = new EngineProcess('llama.cpp');
  progress('loading');
  const facts = {
    skein: await skein.call('load', {
      path: quantization === null ? file : dir,
      quantization: quantization ?? 'none',
      streams,
      long,
    }),
    peer: await peer.call('load', { path: file, quantization: 'none', streams, long }),
  };
  const table = new Turns({ skein, peer }, facts.skein);
  const samples = new Map<string, PeerSample[]>(cases.map(({ id }) => [id, []]));
  for (let round = 0; round <= rounds; round++) {
    // The order changes, so that neither side always has the colder or the warmer machine.
    const order = round % 2 === 0 ? (['skein', 'peer'] as const) : (['peer', 'skein'] as const);
    for (const spec of cases) {
      const sample = await table.measure(spec, order);
      const kind = round === 0 ? 'warm-up' : `round ${round} of ${rounds}`;
      progress(`${kind}, ${spec.name}: ${describe(sample)}`);
      if (round > 0) samples.get(spec.id)?.push(sample);
    }
  }
  return {
    weights,
    facts,
    agreement: agreement(await skein.call('likeliest'), await peer.call('likeliest')),
    samples,
    idleCoresMax: table.idleCoresMax,
    ceilings: table.ceilings,
  };
}

function describe({ value, peerValue, limit, foreignCores }: PeerSample): string {
  const share = limit === null ? '' : `, ${((100 * value) / limit).toFixed(0)} % of ${limit.toPrecision(4)}`;
  const others = foreignCores < 0.05 ? '' : `, others took ${foreignCores.toFixed(2)} cores`;
  return `${value.toPrecision(4)} and ${peerValue.toPrecision(4)} tok/s, ratio ${(value / peerValue).toPrecision(3)}${share}${others}`;
}

type Side = 'skein' | 'peer';

/** Lets the two sides take turns at a case, and watches that one rests while the other works. */
class Turns {
  readonly ceilings: Ceilings[] = [];
  idleCoresMax = 0;
  readonly #engines: Readonly<Record<Side, EngineProcess>>;
  readonly #facts: EngineFacts;
  #quiet: number | null = null;

  constructor(engines: Readonly<Record<Side, EngineProcess>>, facts: EngineFacts) {
    this.#engines = engines;
    this.#facts = facts;
  }

  async measure(spec: PeerCase, order: readonly Side[]): Promise<PeerSample> {
    const limited = spec.limit !== null && spec.limit !== 'quiet';
    if (spec.limit === 'quiet')
      this.#quiet = await this.#turn('skein', { ...spec.work, busyLoops: 0 } as PeerCase['work']);
    const before = limited ? await this.#measureCeilings() : null;
    await using loops = spec.work.kind === 'decode' ? await BusyLoops.start(spec.work.busyLoops) : null;
    const watch = new ForeignWork([
      process.pid,
      ...Object.values(this.#engines).map(({ pid }) => pid),
      ...(loops?.pids ?? []),
    ]);
    const rates = { skein: 0, peer: 0 };
    for (const side of order) rates[side] = await this.#turn(side, spec.work);
    const foreignCores = watch.cores();
    const after = limited ? await this.#measureCeilings() : null;
    const ceilings = before === null || after === null ? null : between(before, after);
    return { value: rates.skein, peerValue: rates.peer, limit: this.#limit(spec, ceilings), foreignCores };
  }

  /** @returns tokens a second. */
  async #turn(side: Side, work: PeerCase['work']): Promise<number> {
    const engine = this.#engines[side];
    const resting = this.#engines[side === 'skein' ? 'peer' : 'skein'];
    const [cpu, startMs] = [resting.cpuSeconds(), performance.now()];
    const rate = await tokensPerSecond(engine, work);
    const idleCores = (resting.cpuSeconds() - cpu) / ((performance.now() - startMs) / 1000);
    this.idleCoresMax = Math.max(this.idleCoresMax, idleCores);
    return rate;
  }

  async #measureCeilings(): Promise<Ceilings> {
    const ceilings = await measureCeilings();
    this.ceilings.push(ceilings);
    return ceilings;
  }

  /** Tokens a second. */
  #limit({ limit, work }: PeerCase, ceilings: Ceilings | null): number | null {
    if (limit === 'quiet') return this.#quiet;
    if (ceilings === null) return null;
    const { weightBytes, bytesPerPosition, prefillFlopsPerToken } = this.#facts;
    if (limit === 'read') {
      const positions = work.kind === 'long' ? LONG_CONTEXT : CONTEXT;
      return (ceilings.readGBps * 1e9) / (weightBytes + positions * bytesPerPosition);
    }
    const rate = { fma: ceilings.fmaGflops, int4: ceilings.int4Gops, int8: ceilings.int8Gops }[limit ?? 'fma'];
    return prefillFlopsPerToken === null ? null : (rate * 1e9) / prefillFlopsPerToken;
  }
}

async function tokensPerSecond(engine: EngineProcess, work: PeerCase['work']): Promise<number> {
  switch (work.kind) {
    case 'prefill':
      return PREFILL_TOKENS / (await engine.call('prefill'));
    case 'decode':
      return (work.streams * work.steps) / (await engine.call('decode', work.streams, work.steps));
    case 'long':
      return work.steps / (await engine.call('decodeLong', work.steps));
  }
}

/** Processor time of everything but the given processes. */
class ForeignWork {
  readonly #pids: readonly number[];
  readonly #startMs = performance.now();
  readonly #startCpu: number;

  constructor(pids: readonly number[]) {
    this.#pids = pids;
    this.#startCpu = this.#foreign();
  }

  /** Cores on average since the start. */
  cores(): number {
    return Math.max(0, (this.#foreign() - this.#startCpu) / ((performance.now() - this.#startMs) / 1000));
  }

  #foreign(): number {
    return machineCpuSeconds() - this.#pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  }
}
