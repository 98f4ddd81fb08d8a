import type { Op } from '@skein/native';
import { linear, row, rows, softmaxInPlace, type Value, zip } from './value.ts';

/** Ids in descending order of score, the lower first among equals. */
function ranked(scores: readonly number[]): number[] {
  return [...scores.keys()].sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
}

export function route(op: Extract<Op, { op: 'route' }>, logits: Value, bias: Float32Array | null): Value {
  const tokens = [...Array(logits.data.length / logits.width).keys()];
  return rows(2 * op.topK, tokens, (t, out) => {
    const scores = Float64Array.from(row(logits, t));
    if (op.scoring === 'softmax') softmaxInPlace(scores);
    else for (const [e, x] of scores.entries()) scores[e] = 1 / (1 + Math.exp(-x));
    const choice = Array.from(scores, (s, e) => s + (bias?.[e] ?? 0));
    const size = scores.length / op.numGroups;
    const groupScores = Array.from({ length: op.numGroups }, (_, g) => {
      const [first = 0, second = 0] = choice.slice(g * size, (g + 1) * size).sort((a, b) => b - a);
      return op.groupScore === 'best' ? first : first + second;
    });
    const groups = new Set(ranked(groupScores).slice(0, op.topKGroups));
    const ids = ranked(choice)
      .filter((e) => groups.has(Math.floor(e / size)))
      .slice(0, op.topK)
      .sort((a, b) => a - b);
    const sum = ids.reduce((total, e) => total + (scores[e] ?? 0), 0);
    out.set(ids);
    out.set(
      ids.map((e) => ((scores[e] ?? 0) / (op.renormalize ? sum : 1)) * op.scale),
      op.topK,
    );
  });
}

/** Of each token the outputs of its experts, [tokens, topK * width of x]; zeros for those of other ranks. */
export function expertOutputs(
  op: Extract<Op, { op: 'experts' }>,
  { x, routes }: { readonly x: Value; readonly routes: Value },
  weight: (id: number) => Float32Array,
): Float32Array {
  const topK = routes.width / 2;
  const tokens = [...Array(x.data.length / x.width).keys()];
  return rows(topK * x.width, tokens, (t, out) => {
    const from = { width: x.width, data: row(x, t) };
    const route = row(routes, t);
    for (let k = 0; k < topK; k++) {
      const expert = op.experts.find((e) => e.id === route[k]);
      if (expert === undefined) continue;
      const [gate, up] = [linear(from, weight(expert.gate), null), linear(from, weight(expert.up), null)];
      const inner = zip(gate, up, (g, u) => (g / (1 + Math.exp(-g))) * u);
      out.set(linear(inner, weight(expert.down), null).data, k * x.width);
    }
  }).data;
}

/** The weighted sum of each token's outputs, ids ascending. */
export function addExperts(outputs: Float32Array, routes: Value, width: number): Value {
  const topK = routes.width / 2;
  const tokens = [...Array(outputs.length / (topK * width)).keys()];
  return rows(width, tokens, (t, out) => {
    const sums = new Float64Array(width);
    for (let k = 0; k < topK; k++) {
      const share = row(routes, t)[topK + k] as number;
      const from = (t * topK + k) * width;
      for (let i = 0; i < width; i++) sums[i] = (sums[i] as number) + share * (outputs[from + i] as number);
    }
    out.set(sums);
  });
}
