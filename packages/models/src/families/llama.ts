import { z } from 'zod';
import { preNormModel } from '../layers/pre-norm-model.ts';
import type { ModelFamily } from '../model.ts';
import {
  attentionHeads,
  commonConfig,
  commonFields,
  headFields,
  headLayers,
  intermediateSize,
  parseConfig,
  silu,
} from '../model-config.ts';
import { parseRopeConfig } from '../rope-config.ts';

const schema = z.object({
  ...commonFields,
  ...headFields,
  intermediate_size: intermediateSize,
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  hidden_act: silu,
});

/** Llama 2 and 3. */
export const llama: ModelFamily = (document, file) => {
  const fields = parseConfig(schema, document, file);
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  const { attention_bias: attention, mlp_bias: mlp } = fields;
  return preNormModel({
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig(document, file, { headDim: heads.headDim, partial: 'refused' }),
    bias: { qkv: attention, o: attention, mlp },
    headNorm: false,
    projections: 'separate',
    windows: [],
    kvCacheLayers: headLayers(common.numLayers, heads),
  });
};
