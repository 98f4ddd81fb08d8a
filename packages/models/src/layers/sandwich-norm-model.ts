import type { Model, Stage } from '../model.ts';
import type { AttentionHeads, ModelConfig } from '../model-config.ts';
import type { RopeFrequencies } from '../rope-frequencies.ts';
import { recordAttention } from './attention.ts';
import { isUnneededByDecoder, recordDecoder } from './decoder.ts';
import { recordGatedMlp } from './gated-mlp.ts';

export interface SandwichNormConfig extends ModelConfig, AttentionHeads {
  readonly intermediateSize: number;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly scale: number;
  /** Whether each head of q and k is normalised. */
  readonly headNorm: boolean;
  readonly attentionSoftCap: number | null;
  readonly logitSoftCap: number | null;
  /** Of each layer: positions that a token attends to, its own included; null for all. */
  readonly windows: readonly (number | null)[];
}

/** The later Gemmas: attention and a gated feed-forward, each between two norms and added to the stream; norm weights that
 *  stand for their distance from 1; embeddings scaled by the root of their width.
 *  @param ropeOf the table of a layer with that window. */
export function sandwichNormModel(
  config: SandwichNormConfig,
  ropeOf: (window: number | null, stage: Stage) => RopeFrequencies,
): Model {
  const { numHeads, numKVHeads, headDim, intermediateSize, scale, attentionBias, attentionSoftCap } = config;
  const norm = { eps: config.rmsNormEps, weightOffset: 1 };
  return {
    config,
    isUnneeded: (name) => isUnneededByDecoder(name, config),
    record(r, stage) {
      recordDecoder(r, {
        config,
        stage,
        norm,
        embedScale: Math.sqrt(config.hiddenSize),
        logitSoftCap: config.logitSoftCap,
        attention(x, { layer, cacheLayer, name }) {
          const window = config.windows[layer] ?? null;
          const attended = recordAttention(r, r.rmsNorm(x, `${name}.input_layernorm.weight`, norm), {
            name: `${name}.self_attn`,
            cacheLayer,
            numHeads,
            numKVHeads,
            headDim,
            scale,
            rope: ropeOf(window, stage),
            projections: 'separate',
            bias: { qkv: attentionBias, o: attentionBias },
            headNorm: config.headNorm ? norm : null,
            window,
            softCap: attentionSoftCap,
          });
          return r.add(x, r.rmsNorm(attended, `${name}.post_attention_layernorm.weight`, norm));
        },
        feedForward(x, { name }) {
          const fed = recordGatedMlp(r, r.rmsNorm(x, `${name}.pre_feedforward_layernorm.weight`, norm), {
            name: `${name}.mlp`,
            intermediateSize,
            activation: 'geluTanh',
            projections: 'separate',
            bias: false,
          });
          return r.add(x, r.rmsNorm(fed, `${name}.post_feedforward_layernorm.weight`, norm));
        },
      });
    },
  };
}
