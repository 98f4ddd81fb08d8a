import type { ValueId } from '@skein/native';
import type { AttentionHeads } from '../model-config.ts';
import type { NormOptions, ProgramRecorder } from '../program-recorder.ts';
import type { RopeFrequencies } from '../rope-frequencies.ts';
import { type HeadSlice, headSlices, type Slice } from '../tensor-shard.ts';

export interface AttentionOptions extends AttentionHeads {
  /** Prefix of its parameters. */
  readonly name: string;
  readonly cacheLayer: number;
  /** Of scores. */
  readonly scale: number;
  readonly rope: RopeFrequencies;
  /** Whether q, k and v are three modules, or rows of one called qkv_proj. */
  readonly projections: 'separate' | 'fused';
  /** Whether the projections have biases. */
  readonly bias: { readonly qkv: boolean; readonly o: boolean };
  /** Of each head of q and k, before they turn; null for none. */
  readonly headNorm: NormOptions | null;
  /** Positions that a token attends to, its own included; null for all. */
  readonly window: number | null;
  /** Of scores; null for none. */
  readonly softCap: number | null;
}

/** Projects x to heads, turns q and k, attends, and projects back to the width of x. Each rank has some of the heads. */
export function recordAttention(r: ProgramRecorder, x: ValueId, options: AttentionOptions): ValueId {
  const { name, cacheLayer, headDim, scale, rope, bias, headNorm, window, softCap } = options;
  const slices = headSlices(options, r.tensor.size);
  const own = r.own(slices);
  const [numHeads, numKVHeads] = [own.queries.count, own.keys.count];
  const turn = (value: ValueId, part: 'q' | 'k', heads: number): ValueId => {
    const normed =
      headNorm === null ? value : r.rmsNormHeads(value, `${name}.${part}_norm.weight`, { ...headNorm, headDim });
    const rotaryDim = 2 * rope.inverseFrequencies.length;
    return r.rope(normed, { numHeads: heads, headDim, rotaryDim, ...rope });
  };
  const { q, k, v } = project(r, x, own, options);
  const attended = r.attention({
    q: turn(q, 'q', numHeads),
    k: turn(k, 'k', numKVHeads),
    v,
    cacheLayer,
    numHeads,
    numKVHeads,
    headDim,
    scale,
    window,
    softCap,
  });
  const widths = slices.map(({ queries }) => queries.count * headDim);
  return r.mergeLinear(attended, `${name}.o_proj`, { widths, width: r.width(x), bias: bias.o });
}

function project(
  r: ProgramRecorder,
  x: ValueId,
  own: HeadSlice,
  { name, numHeads, numKVHeads, headDim, projections, bias: { qkv: bias } }: AttentionOptions,
): { q: ValueId; k: ValueId; v: ValueId } {
  const [queries, keys] = [numHeads * headDim, numKVHeads * headDim];
  /** Heads of a module that has `of` rows, the first of them at row `offset`. */
  const part = (module: string, heads: Slice, { offset, of }: { offset: number; of: number }): ValueId =>
    r.linear(x, `${name}.${module}`, {
      width: heads.count * headDim,
      bias,
      rows: { first: offset + heads.first * headDim, of },
    });
  if (projections === 'separate') {
    return {
      q: part('q_proj', own.queries, { offset: 0, of: queries }),
      k: part('k_proj', own.keys, { offset: 0, of: keys }),
      v: part('v_proj', own.keys, { offset: 0, of: keys }),
    };
  }
  const of = queries + 2 * keys;
  return {
    q: part('qkv_proj', own.queries, { offset: 0, of }),
    k: part('qkv_proj', own.keys, { offset: queries, of }),
    v: part('qkv_proj', own.keys, { offset: queries + keys, of }),
  };
}
