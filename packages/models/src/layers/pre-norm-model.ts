import type { Model } from '../model.ts';
import type { AttentionHeads, ModelConfig } from '../model-config.ts';
import type { RopeConfig } from '../rope-config.ts';
import { ropeFrequencies } from '../rope-frequencies.ts';
import { recordAttention } from './attention.ts';
import { recordGatedMlp } from './gated-mlp.ts';
import { type LayerPart, preNormDecoder } from './pre-norm-decoder.ts';

export interface PreNormConfig extends ModelConfig, AttentionHeads {
  /** Of a dense feed-forward. */
  readonly intermediateSize: number;
  readonly rmsNormEps: number;
  readonly rope: RopeConfig;
  readonly bias: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** Whether each head of q and k is normalised. */
  readonly headNorm: boolean;
  readonly projections: 'separate' | 'fused';
  /** Of each layer: positions that a token attends to, its own included; null for all. */
  readonly windows: readonly (number | null)[];
}

/** Llama and its kin. @param feedForward in place of a dense one. */
export function preNormModel(config: PreNormConfig, feedForward: LayerPart = denseFeedForward(config)): Model {
  const { numHeads, numKVHeads, headDim, bias, projections } = config;
  const headNorm = config.headNorm ? { eps: config.rmsNormEps, weightOffset: 0 } : null;
  return preNormDecoder(config, {
    attention(stage) {
      const rope = ropeFrequencies(config.rope, { ...config, maxModelLen: stage.maxModelLen });
      return (r, x, { layer, cacheLayer, name }) =>
        recordAttention(r, x, {
          name: `${name}.self_attn`,
          cacheLayer,
          numHeads,
          numKVHeads,
          headDim,
          scale: headDim ** -0.5,
          rope,
          projections,
          bias,
          headNorm,
          window: config.windows[layer] ?? null,
          softCap: null,
        });
    },
    feedForward,
  });
}

/** A gated feed-forward in every layer. */
export function denseFeedForward({
  intermediateSize,
  projections,
  bias,
}: Pick<PreNormConfig, 'intermediateSize' | 'projections' | 'bias'>): LayerPart {
  return (r, x, { name }) =>
    recordGatedMlp(r, x, { name: `${name}.mlp`, intermediateSize, activation: 'silu', projections, bias: bias.mlp });
}
