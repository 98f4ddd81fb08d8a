import type { RopeConfig, RopeScaling } from './rope-config.ts';

/** Angle of component i at position p is p * inverseFrequencies[i]; cos and sin are scaled by `attentionFactor`. */
export interface RopeFrequencies {
  readonly inverseFrequencies: Float32Array;
  readonly attentionFactor: number;
}

export interface RopeShape {
  readonly maxPositionEmbeddings: number;
  /** Most tokens a sequence will have; at most the above. */
  readonly maxModelLen: number;
}

// Every step rounds to f32 where transformers' ROPE_INIT_FUNCTIONS does: torch turns `scalar / tensor` into the reciprocal
// times the scalar. What is left of a difference is the last place of `pow`.
const f = Math.fround;
const reciprocal = (x: number): number => f(1 / x);

/** The table transformers computes, one for all lengths: a table that changes with the longest position seen would make K in
 *  the cache depend on what ran before. So `dynamic` is `default`, as it is up to max_position_embeddings, where serving
 *  stops; and `longrope` takes its long factors when sequences may outgrow the original context, as vLLM does. */
export function ropeFrequencies(rope: RopeConfig, shape: RopeShape): RopeFrequencies {
  const { scaling, rotaryDim } = rope;
  switch (scaling.type) {
    case 'default':
      return { inverseFrequencies: defaultFrequencies(rope.theta, rotaryDim), attentionFactor: 1 };
    case 'linear':
      return {
        inverseFrequencies: defaultFrequencies(rope.theta, rotaryDim).map((x) => f(x / f(scaling.factor))),
        attentionFactor: 1,
      };
    case 'dynamic': {
      // At max_position_embeddings the stretch of the base is 1 up to rounding, which transformers keeps.
      const stretch =
        (scaling.factor * shape.maxPositionEmbeddings) / shape.maxPositionEmbeddings - (scaling.factor - 1);
      const theta = rope.theta * stretch ** (rotaryDim / (rotaryDim - 2));
      return { inverseFrequencies: defaultFrequencies(theta, rotaryDim), attentionFactor: 1 };
    }
    case 'llama3':
      return {
        inverseFrequencies: defaultFrequencies(rope.theta, rotaryDim).map((x) => llama3Frequency(x, scaling)),
        attentionFactor: 1,
      };
    case 'yarn':
      return yarnFrequencies(rope, scaling, shape);
    case 'longrope':
      return longropeFrequencies(rope, scaling, shape);
  }
}

/** theta ** (2i / rotaryDim), f32. */
function wavelengths(theta: number, rotaryDim: number): Float32Array {
  return Float32Array.from({ length: rotaryDim / 2 }, (_, i) => f(theta) ** f((2 * i) / rotaryDim));
}

function defaultFrequencies(theta: number, rotaryDim: number): Float32Array {
  return wavelengths(theta, rotaryDim).map(reciprocal);
}

function llama3Frequency(x: number, s: Extract<RopeScaling, { type: 'llama3' }>): number {
  const wavelength = f(reciprocal(x) * f(2 * Math.PI));
  const long = s.originalMaxPositionEmbeddings / s.lowFreqFactor;
  const short = s.originalMaxPositionEmbeddings / s.highFreqFactor;
  if (wavelength < f(short)) return x;
  if (wavelength > f(long)) return f(x / f(s.factor));
  const turns = f(reciprocal(wavelength) * f(s.originalMaxPositionEmbeddings));
  const smooth = f(f(turns - f(s.lowFreqFactor)) / f(s.highFreqFactor - s.lowFreqFactor));
  return f(f(f(f(1 - smooth) * x) / f(s.factor)) + f(smooth * x));
}

function longropeFrequencies(
  { theta, rotaryDim }: RopeConfig,
  s: Extract<RopeScaling, { type: 'longrope' }>,
  shape: RopeShape,
): RopeFrequencies {
  const original = s.originalMaxPositionEmbeddings ?? shape.maxPositionEmbeddings;
  const factors = shape.maxModelLen > original ? s.longFactor : s.shortFactor;
  const stretch = s.originalMaxPositionEmbeddings === null ? (s.factor ?? 1) : shape.maxPositionEmbeddings / original;
  const inverseFrequencies = wavelengths(theta, rotaryDim).map((wave, i) => reciprocal(f(f(factors[i] ?? 1) * wave)));
  const advised = stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original));
  return { inverseFrequencies, attentionFactor: s.attentionFactor ?? advised };
}

function yarnFrequencies(
  { theta, rotaryDim: dim }: RopeConfig,
  s: Extract<RopeScaling, { type: 'yarn' }>,
  shape: RopeShape,
): RopeFrequencies {
  const original = s.originalMaxPositionEmbeddings ?? shape.maxPositionEmbeddings;
  // Component whose wave makes `turns` turns within the original context.
  const component = (turns: number): number =>
    (dim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const round = s.truncate ? { low: Math.floor, high: Math.ceil } : { low: (x: number) => x, high: (x: number) => x };
  const low = Math.max(round.low(component(s.betaFast)), 0);
  const high = Math.min(round.high(component(s.betaSlow)), dim - 1);
  const span = low === high ? 0.001 : high - low;
  const inverseFrequencies = wavelengths(theta, dim).map((wave, i) => {
    const ramp = Math.min(Math.max(f(f(i - f(low)) / f(span)), 0), 1);
    const kept = f(1 - ramp);
    const interpolated = reciprocal(f(f(s.factor) * wave));
    return f(f(interpolated * f(1 - kept)) + f(reciprocal(wave) * kept));
  });
  return { inverseFrequencies, attentionFactor: yarnAttentionFactor(s) };
}

function yarnAttentionFactor(s: Extract<RopeScaling, { type: 'yarn' }>): number {
  if (s.attentionFactor !== null) return s.attentionFactor;
  return s.mscale && s.mscaleAllDim
    ? yarnMagnitude(s.factor, s.mscale) / yarnMagnitude(s.factor, s.mscaleAllDim)
    : yarnMagnitude(s.factor, 1);
}

/** Yarn's growth of queries and keys for a context `factor` times longer. */
export function yarnMagnitude(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}
