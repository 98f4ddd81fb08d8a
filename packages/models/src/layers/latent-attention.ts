import type { ValueId } from '@skein/native';
import type { LatentHeads, ProgramRecorder } from '../program-recorder.ts';
import type { RopeFrequencies } from '../rope-frequencies.ts';
import { headSlices } from '../tensor-shard.ts';

// The norms inside take no epsilon from config.json.
const INNER_NORM = { eps: 1e-6, weightOffset: 0 };

export interface LatentAttentionOptions {
  /** Prefix of its parameters. */
  readonly name: string;
  readonly cacheLayer: number;
  readonly heads: LatentHeads;
  /** Width of the compressed query; null where queries are made from x at once. */
  readonly queryRank: number | null;
  readonly scale: number;
  readonly rope: RopeFrequencies;
  readonly interleaved: boolean;
  /** Whether the projections from and to x have biases. */
  readonly bias: boolean;
}

/** Multi-head latent attention in its absorbed form, which is the same for chunks and for single tokens: the cache keeps the
 *  normalised latent and the rotated key part, once for all heads, which are spread over the ranks; each has the whole cache. */
export function recordLatentAttention(r: ProgramRecorder, x: ValueId, options: LatentAttentionOptions): ValueId {
  const { name, cacheLayer, queryRank, scale, interleaved, bias } = options;
  const { numHeads: allHeads, nopeDim, ropeDim, valueDim, latentDim } = options.heads;
  const slices = headSlices({ numHeads: allHeads, numKVHeads: allHeads }, r.tensor.size).map(({ queries }) => queries);
  const { first: firstHead, count: numHeads } = r.own(slices);
  const heads = { ...options.heads, numHeads, firstHead, allHeads };
  const queryDim = nopeDim + ropeDim;
  const queries = {
    width: numHeads * queryDim,
    bias: false,
    rows: { first: firstHead * queryDim, of: allHeads * queryDim },
  };
  const down = `${name}.kv_a_proj_with_mqa`;
  const rowsOfDown = latentDim + ropeDim;
  // The projections of x first, side by side: neighbours that share an input run as one.
  const projected =
    queryRank === null
      ? r.linear(x, `${name}.q_proj`, queries)
      : r.linear(x, `${name}.q_a_proj`, { width: queryRank, bias });
  const latent = r.linear(x, down, { width: latentDim, bias, rows: { first: 0, of: rowsOfDown } });
  const keyRope = r.linear(x, down, { width: ropeDim, bias, rows: { first: latentDim, of: rowsOfDown } });
  const q =
    queryRank === null
      ? projected
      : r.linear(r.rmsNorm(projected, `${name}.q_a_layernorm.weight`, INNER_NORM), `${name}.q_b_proj`, queries);

  const rotated = { rotaryDim: ropeDim, interleaved, ...options.rope };
  const up = `${name}.kv_b_proj.weight`;
  const attended = r.latentAttention({
    q: r.absorbKey(r.rope(q, { numHeads, headDim: nopeDim + ropeDim, rotaryStart: nopeDim, ...rotated }), up, heads),
    latent: r.rmsNorm(latent, `${name}.kv_a_layernorm.weight`, INNER_NORM),
    keyRope: r.rope(keyRope, { numHeads: 1, headDim: ropeDim, ...rotated }),
    cacheLayer,
    numHeads,
    latentDim,
    ropeDim,
    scale,
  });
  const widths = slices.map(({ count }) => count * valueDim);
  return r.mergeLinear(r.expandValue(attended, up, heads), `${name}.o_proj`, { widths, width: r.width(x), bias });
}
