import type { Model } from '../model.ts';
import type { AttentionHeads, ModelConfig } from '../model-config.ts';
import type { RopeConfig } from '../rope-config.ts';
import { ropeFrequencies } from '../rope-frequencies.ts';
import { recordAttention } from './attention.ts';
import { isUnneededByDecoder, recordDecoder } from './decoder.ts';
import { recordGatedMlp } from './gated-mlp.ts';

export interface PreNormConfig extends ModelConfig, AttentionHeads {
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

/** Llama and its kin: attention and a gated feed-forward, each behind a norm and added to the stream. */
export function preNormModel(config: PreNormConfig): Model {
  const { numHeads, numKVHeads, headDim, intermediateSize, bias, projections } = config;
  const norm = { eps: config.rmsNormEps, weightOffset: 0 };
  return {
    config,
    isUnneeded: (name) => isUnneededByDecoder(name, config),
    record(r, stage) {
      const rope = ropeFrequencies(config.rope, { ...config, maxModelLen: stage.maxModelLen });
      recordDecoder(r, {
        config,
        stage,
        norm,
        embedScale: 1,
        logitSoftCap: null,
        layer(x, { layer, cacheLayer, name }) {
          const attended = recordAttention(r, r.rmsNorm(x, `${name}.input_layernorm.weight`, norm), {
            name: `${name}.self_attn`,
            cacheLayer,
            numHeads,
            numKVHeads,
            headDim,
            scale: headDim ** -0.5,
            rope,
            projections,
            bias,
            headNorm: config.headNorm ? norm : null,
            window: config.windows[layer] ?? null,
            softCap: null,
          });
          const y = r.add(x, attended);
          const fed = recordGatedMlp(r, r.rmsNorm(y, `${name}.post_attention_layernorm.weight`, norm), {
            name: `${name}.mlp`,
            intermediateSize,
            activation: 'silu',
            projections,
            bias: bias.mlp,
          });
          return r.add(y, fed);
        },
      });
    },
  };
}
