import { loadNative } from '@skein/native';
import { type BenchFigure, benchResult, type BenchResult } from './bench-result.ts';
import { cachedCheckpoint } from './cached-checkpoint.ts';
import { prefillFlops, weightBytesPerStep } from './program-cost.ts';
import { median } from './statistics.ts';
import { TimedProgram } from './timed-program.ts';

const SHAPE = 'llama-3.2-1b';
const THREADS = 2;
const ROUNDS = 5;
const PREFILL_TOKENS = 256;
/** Decoding goes from 120 to 135 positions of context, 128 on average. */
const CONTEXT = 120;
const DECODE_STEPS = 16;
const BATCHES = [8, 16];
const CEILING_SECONDS = 0.5;
const CEILING_READ_BYTES = 2 ** 31;

interface Ceilings {
  readonly fmaGflops: number;
  readonly readGBps: number;
}

/** A rate, and the ceilings that held while it was taken. */
interface Sample extends Ceilings {
  readonly value: number;
}

/** Tokens a second of one program with the Llama-3.2-1B shape, beside what memory and FMA units allow: a sample with a limit
 *  has the ceilings measured right before and right after it. */
export async function offline(progress: (line: string) => void): Promise<BenchResult[]> {
  const dir = await cachedCheckpoint(SHAPE, progress);
  progress('loading');
  const streamsMax = Math.max(...BATCHES);
  const streams = Array.from({ length: streamsMax }, (_, stream) => stream);
  using program = await TimedProgram.load(dir, {
    threads: THREADS,
    streams: streams.map(() => PREFILL_TOKENS),
    stepTokensMax: PREFILL_TOKENS,
  });
  const weightBytes = weightBytesPerStep(program.spec);
  const flopsPerToken = prefillFlops(program.spec, PREFILL_TOKENS) / PREFILL_TOKENS;
  for (const stream of streams) await program.prefill(stream, CONTEXT);
  await program.decode([0], CONTEXT, 2);

  const decodeRate = async (count: number): Promise<number> =>
    (count * DECODE_STEPS) / (await program.decode(streams.slice(0, count), CONTEXT, DECODE_STEPS));
  const prefillRate = async (): Promise<number> => PREFILL_TOKENS / (await program.prefill(0, PREFILL_TOKENS));
  const decode: Sample[] = [];
  const prefill: Sample[] = [];
  const batches = BATCHES.map((count) => ({ count, rates: [] as number[] }));
  for (let round = 1; round <= ROUNDS; round++) {
    const before = await measureCeilings();
    const decodeValue = await decodeRate(1);
    const between = await measureCeilings();
    const prefillValue = await prefillRate();
    decode.push({ value: decodeValue, ...mean(before, between) });
    prefill.push({ value: prefillValue, ...mean(between, await measureCeilings()) });
    for (const { count, rates } of batches) rates.push(await decodeRate(count));
    progress(`round ${round} of ${ROUNDS} done`);
  }

  const unit = 'tok/s';
  const ceilings = [...decode, ...prefill];
  return [
    benchResult({
      name: 'decode 1 stream',
      unit,
      ...summary(decode, (s) => (s.readGBps * 1e9) / weightBytes),
      goal: 0.6,
    }),
    benchResult({
      name: `prefill ${PREFILL_TOKENS}`,
      unit,
      ...summary(prefill, (s) => (s.fmaGflops * 1e9) / flopsPerToken),
      goal: 0.5,
    }),
    ...batches.map(({ count, rates }) => benchResult({ name: `decode ${count} streams`, unit, value: median(rates) })),
    benchResult({ name: 'read ceiling', unit: 'GB/s', value: median(ceilings.map((s) => s.readGBps)) }),
    benchResult({ name: 'FMA ceiling', unit: 'GFLOP/s', value: median(ceilings.map((s) => s.fmaGflops)) }),
  ];
}

function mean(a: Ceilings, b: Ceilings): Ceilings {
  return { fmaGflops: (a.fmaGflops + b.fmaGflops) / 2, readGBps: (a.readGBps + b.readGBps) / 2 };
}

function measureCeilings(): Promise<Ceilings> {
  return loadNative().measureCeilings({ threads: THREADS, seconds: CEILING_SECONDS, readBytes: CEILING_READ_BYTES });
}

/** Medians; that of the shares is of pairs, since both sides drift together on a shared machine. */
function summary(
  samples: readonly Sample[],
  limitOf: (ceilings: Ceilings) => number,
): Pick<BenchFigure, 'value' | 'limit' | 'limitShare'> {
  return {
    value: median(samples.map((s) => s.value)),
    limit: median(samples.map(limitOf)),
    limitShare: median(samples.map((s) => s.value / limitOf(s))),
  };
}
