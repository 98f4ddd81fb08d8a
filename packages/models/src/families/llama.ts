import { z } from 'zod';
import { isUnneededByDecoder, recordAttention, recordDecoder, recordGatedMlp } from '../decoder.ts';
import type { ModelFamily } from '../model.ts';
import {
  attentionHeads,
  commonConfig,
  commonFields,
  headFields,
  headLayers,
  intermediateSize,
  parseConfig,
} from '../model-config.ts';
import { parseRopeConfig } from '../rope-config.ts';
import { ropeFrequencies } from '../rope-frequencies.ts';

const schema = z.object({
  ...commonFields,
  ...headFields,
  intermediate_size: intermediateSize,
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  hidden_act: z.literal('silu', 'only silu is served').default('silu'),
});

/** Llama 2 and 3: attention and a gated feed-forward, each behind a norm and added to the stream. */
export const llama: ModelFamily = (document, file) => {
  const fields = parseConfig(schema, document, file);
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  const config = {
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig(document, file, heads.headDim),
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    kvCacheLayers: headLayers(common.numLayers, heads),
  };
  return {
    config,
    isUnneeded: (name) => isUnneededByDecoder(name, config),
    record(r, stage) {
      const { attentionBias, mlpBias, rmsNormEps } = config;
      const rope = ropeFrequencies(config.rope, config);
      recordDecoder(r, {
        config,
        stage,
        layer(x, { name, cacheLayer }) {
          const attended = recordAttention(r, r.rmsNorm(x, `${name}.input_layernorm.weight`, rmsNormEps), {
            ...heads,
            name: `${name}.self_attn`,
            cacheLayer,
            scale: heads.headDim ** -0.5,
            rope,
            bias: { qkv: attentionBias, o: attentionBias },
          });
          const y = r.add(x, attended);
          const fed = recordGatedMlp(r, r.rmsNorm(y, `${name}.post_attention_layernorm.weight`, rmsNormEps), {
            name: `${name}.mlp`,
            intermediateSize: config.intermediateSize,
            bias: mlpBias,
          });
          return r.add(y, fed);
        },
      });
    },
  };
};
