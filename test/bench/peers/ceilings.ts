import { loadNative } from '@skein/native';
import { THREADS } from './engine.ts';

/** What the cores can do, measured while both engines are idle. */
export interface Ceilings {
  readonly readGBps: number;
  readonly fmaGflops: number;
  /** Operations of products of 4-bit and 8-bit weights with 8-bit activations. */
  readonly int4Gops: number;
  readonly int8Gops: number;
}

const SECONDS = 0.4;
const READ_BYTES = 2 ** 31;

export function measureCeilings(): Promise<Ceilings> {
  return loadNative().measureCeilings({ threads: THREADS, seconds: SECONDS, readBytes: READ_BYTES });
}

/** What held on average between two measurements. */
export function between(a: Ceilings, b: Ceilings): Ceilings {
  return {
    readGBps: (a.readGBps + b.readGBps) / 2,
    fmaGflops: (a.fmaGflops + b.fmaGflops) / 2,
    int4Gops: (a.int4Gops + b.int4Gops) / 2,
    int8Gops: (a.int8Gops + b.int8Gops) / 2,
  };
}
