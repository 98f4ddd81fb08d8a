import { loadNative } from '@skein/native';
import { THREADS } from './engine.ts';

/** What the cores can do, measured while both engines are idle. */
export interface Ceilings {
  readonly readGBps: number;
  readonly fmaGflops: number;
  /** Operations of products of 4-bit and 8-bit weights with 8-bit activations; null where they are not measured. */
  readonly int4Gops: number | null;
  readonly int8Gops: number | null;
}

const SECONDS = 0.4;
const READ_BYTES = 2 ** 31;

export async function measureCeilings(): Promise<Ceilings> {
  const { readGBps, fmaGflops } = await loadNative().measureCeilings({
    threads: THREADS,
    seconds: SECONDS,
    readBytes: READ_BYTES,
  });
  return { readGBps, fmaGflops, int4Gops: null, int8Gops: null };
}

/** What held on average between two measurements. */
export function between(a: Ceilings, b: Ceilings): Ceilings {
  const mean = (x: number | null, y: number | null): number | null => (x === null || y === null ? null : (x + y) / 2);
  return {
    readGBps: (a.readGBps + b.readGBps) / 2,
    fmaGflops: (a.fmaGflops + b.fmaGflops) / 2,
    int4Gops: mean(a.int4Gops, b.int4Gops),
    int8Gops: mean(a.int8Gops, b.int8Gops),
  };
}
