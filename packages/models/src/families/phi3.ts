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
  window,
} from '../model-config.ts';
import { parseRopeConfig } from '../rope-config.ts';

const schema = z.object({
  ...commonFields,
  ...headFields,
  rms_norm_eps: commonFields.rms_norm_eps.unwrap().default(1e-5),
  intermediate_size: intermediateSize,
  hidden_act: silu,
  sliding_window: window.nullish(),
});

/** Llama with q, k and v in one weight, gate and up in another, heads that may turn in part, and longrope. */
export const phi3: ModelFamily = (document, file) => {
  const fields = parseConfig(schema, document, file);
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  return preNormModel({
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig({ original_max_position_embeddings: 4096, ...Object(document) }, file, {
      headDim: heads.headDim,
      partial: 'served',
    }),
    bias: { qkv: false, o: false, mlp: false },
    headNorm: false,
    projections: 'fused',
    windows: Array.from({ length: common.numLayers }, () => fields.sliding_window ?? null),
    kvCacheLayers: headLayers(common.numLayers, heads),
  });
};
