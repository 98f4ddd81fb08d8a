import { z } from 'zod';
import { type PreNormConfig, preNormModel } from '../layers/pre-norm-model.ts';
import type { ModelFamily } from '../model.ts';
import {
  attentionHeads,
  commonConfig,
  commonFields,
  headFields,
  headLayers,
  intermediateSize,
  layerTypes,
  layerWindows,
  parseConfig,
  silu,
  window,
} from '../model-config.ts';
import { parseRopeConfig } from '../rope-config.ts';

/** What config.json has in every generation. */
export const qwenFields = {
  ...commonFields,
  ...headFields,
  intermediate_size: intermediateSize,
  hidden_act: silu,
  attention_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: window.nullable().default(4096),
  max_window_layers: z.int().min(0).default(28),
  layer_types: layerTypes,
};

const schema = z.object(qwenFields);

export type QwenFields = z.infer<typeof schema>;

/** Qwen2 and 2.5: Llama with biases at q, k and v. */
export const qwen2: ModelFamily = (document, file) => {
  const fields = parseConfig(schema, document, file);
  const bias = { qkv: true, o: false, mlp: false };
  return preNormModel(qwenConfig(fields, { document, file, headNorm: false, bias }));
};

/** Llama with a norm of each head of q and k, and heads of their own size. */
export const qwen3: ModelFamily = (document, file) => {
  const fields = parseConfig(schema, { head_dim: 128, ...Object(document) }, file);
  const bias = { qkv: fields.attention_bias, o: fields.attention_bias, mlp: false };
  return preNormModel(qwenConfig(fields, { document, file, headNorm: true, bias }));
};

export interface QwenOptions extends Pick<PreNormConfig, 'headNorm' | 'bias'> {
  readonly document: unknown;
  readonly file: string;
}

/** Of a dense model, or of a mixture's attention. */
export function qwenConfig(fields: QwenFields, { document, file, headNorm, bias }: QwenOptions): PreNormConfig {
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  const sliding = fields.use_sliding_window ? fields.sliding_window : null;
  return {
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig(document, file, { headDim: heads.headDim, partial: 'refused' }),
    bias,
    headNorm,
    projections: 'separate',
    // The first layers see everything.
    windows: layerWindows(fields, file, {
      window: sliding,
      isSliding: (layer) => sliding !== null && layer >= fields.max_window_layers,
    }),
    kvCacheLayers: headLayers(common.numLayers, heads),
  };
}
