import type { KVCacheSpec, Op } from '@skein/native';
import { storedRow } from './kv-cache-row.ts';
import type { StepWords } from './step-words.ts';
import { dotAt, fail, row, rows, softmaxInPlace, type Value } from './value.ts';

function tokensOf(x: Value): number[] {
  return [...Array(x.data.length / x.width).keys()];
}

export function absorbKey(op: Extract<Op, { op: 'absorbKey' }>, q: Value, weight: Float32Array): Value {
  const { numHeads, nopeDim, ropeDim, valueDim, latentDim } = op;
  return rows(numHeads * (latentDim + ropeDim), tokensOf(q), (t, out) => {
    for (let h = 0; h < numHeads; h++) {
      const query = row(q, t).subarray(h * (nopeDim + ropeDim), (h + 1) * (nopeDim + ropeDim));
      const sums = new Float64Array(latentDim + ropeDim);
      for (let n = 0; n < nopeDim; n++) {
        const key = (h * (nopeDim + valueDim) + n) * latentDim;
        const share = query[n] as number;
        for (let i = 0; i < latentDim; i++) sums[i] = (sums[i] as number) + share * (weight[key + i] as number);
      }
      sums.set(query.subarray(nopeDim), latentDim);
      out.set(sums, h * sums.length);
    }
  });
}

export function expandValue(op: Extract<Op, { op: 'expandValue' }>, x: Value, weight: Float32Array): Value {
  const { numHeads, nopeDim, valueDim, latentDim } = op;
  return rows(numHeads * valueDim, tokensOf(x), (t, out) => {
    for (let h = 0; h < numHeads; h++) {
      const own = row(x, t).subarray(h * latentDim, (h + 1) * latentDim);
      for (let i = 0; i < valueDim; i++) {
        const value = (h * (nopeDim + valueDim) + nopeDim + i) * latentDim;
        out[h * valueDim + i] = dotAt(own, 0, weight, value, latentDim);
      }
    }
  });
}

interface LatentInputs {
  readonly q: Value;
  readonly latent: Value;
  readonly keyRope: Value;
}

interface LatentCache {
  readonly step: StepWords;
  /** [numBlocks, blockSize, latentDim + ropeDim]. */
  readonly cache: Float32Array;
  readonly spec: KVCacheSpec;
}

export function latentAttention(
  op: Extract<Op, { op: 'latentAttention' }>,
  { q, latent, keyRope }: LatentInputs,
  { step, cache, spec }: LatentCache,
): Value {
  const { numHeads, latentDim, ropeDim } = op;
  const width = latentDim + ropeDim;
  /** Where what is kept of a position lies. */
  const placeOf = (blocks: readonly number[], position: number): number => {
    const block = blocks[Math.floor(position / spec.blockSize)] ?? fail(`no block for position ${position}`);
    return (block * spec.blockSize + (position % spec.blockSize)) * width;
  };
  for (const [t, position] of step.position.entries()) {
    const place = placeOf(step.blocks[t] ?? [], position);
    cache.set(storedRow(spec.dtype, row(latent, t)), place);
    cache.set(storedRow(spec.dtype, row(keyRope, t)), place + latentDim);
  }
  return rows(numHeads * latentDim, step.position, (position, out, t) => {
    const places = new Int32Array(position + 1).map((_, p) => placeOf(step.blocks[t] ?? [], p));
    const shares = new Float64Array(places.length);
    for (let h = 0; h < numHeads; h++) {
      const query = t * q.width + h * width;
      for (let p = 0; p < shares.length; p++)
        shares[p] = dotAt(q.data, query, cache, places[p] as number, width) * op.scale;
      softmaxInPlace(shares);
      const sums = new Float64Array(latentDim);
      for (let p = 0; p < shares.length; p++) {
        const key = places[p] as number;
        const share = shares[p] as number;
        for (let i = 0; i < latentDim; i++) sums[i] = (sums[i] as number) + share * (cache[key + i] as number);
      }
      out.set(sums, h * latentDim);
    }
  });
}
