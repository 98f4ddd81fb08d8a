import type { ValueId } from '@skein/native';
import type { AttentionHeads } from '../model-config.ts';
import type { NormOptions, ProgramRecorder } from '../program-recorder.ts';
import type { RopeFrequencies } from '../rope-frequencies.ts';

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

/** Projects x to heads, turns q and k, attends, and projects back to the width of x. */
export function recordAttention(r: ProgramRecorder, x: ValueId, options: AttentionOptions): ValueId {
  const { name, cacheLayer, numHeads, numKVHeads, headDim, scale, rope, bias, headNorm, window, softCap } = options;
  const turn = (value: ValueId, part: 'q' | 'k', heads: number): ValueId => {
    const normed =
      headNorm === null ? value : r.rmsNormHeads(value, `${name}.${part}_norm.weight`, { ...headNorm, headDim });
    const rotaryDim = 2 * rope.inverseFrequencies.length;
    return r.rope(normed, { numHeads: heads, headDim, rotaryDim, ...rope });
  };
  const { q, k, v } = project(r, x, options);
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
  return r.linear(attended, `${name}.o_proj`, { width: r.width(x), bias: bias.o });
}

function project(
  r: ProgramRecorder,
  x: ValueId,
  { name, numHeads, numKVHeads, headDim, projections, bias: { qkv: bias } }: AttentionOptions,
): { q: ValueId; k: ValueId; v: ValueId } {
  const [queries, keys] = [numHeads * headDim, numKVHeads * headDim];
  if (projections === 'separate') {
    return {
      q: r.linear(x, `${name}.q_proj`, { width: queries, bias }),
      k: r.linear(x, `${name}.k_proj`, { width: keys, bias }),
      v: r.linear(x, `${name}.v_proj`, { width: keys, bias }),
    };
  }
  const rowsFrom = (first: number, width: number): ValueId =>
    r.linear(x, `${name}.qkv_proj`, { width, bias, rows: { first, of: queries + 2 * keys } });
  return { q: rowsFrom(0, queries), k: rowsFrom(queries, keys), v: rowsFrom(queries + keys, keys) };
}
