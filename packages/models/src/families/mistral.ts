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
  intermediate_size: intermediateSize,
  hidden_act: silu,
  // A config without the field means 4096; null means none.
  sliding_window: window.nullable().default(4096),
});

/** Llama with one window for all layers. */
export const mistral: ModelFamily = (document, file) => {
  const fields = parseConfig(schema, document, file);
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  return preNormModel({
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig(document, file, { headDim: heads.headDim, partial: 'refused' }),
    bias: { qkv: false, o: false, mlp: false },
    headNorm: false,
    projections: 'separate',
    windows: Array.from({ length: common.numLayers }, () => fields.sliding_window),
    kvCacheLayers: headLayers(common.numLayers, heads),
  });
};
