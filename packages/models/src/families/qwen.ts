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
  layerTypes,
  layerWindows,
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
  attention_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: window.nullable().default(4096),
  max_window_layers: z.int().min(0).default(28),
  layer_types: layerTypes,
});

/** Qwen2 and 2.5: Llama with biases at q, k and v. */
export const qwen2: ModelFamily = (document, file) =>
  qwen(document, file, { headNorm: false, bias: () => ({ qkv: true, o: false, mlp: false }) });

/** Llama with a norm of each head of q and k, and heads of their own size. */
export const qwen3: ModelFamily = (document, file) =>
  qwen({ head_dim: 128, ...Object(document) }, file, {
    headNorm: true,
    bias: ({ attention_bias: attention }) => ({ qkv: attention, o: attention, mlp: false }),
  });

interface Generation {
  readonly headNorm: boolean;
  readonly bias: (fields: z.infer<typeof schema>) => { qkv: boolean; o: boolean; mlp: boolean };
}

const qwen = (document: unknown, file: string, { headNorm, bias }: Generation): ReturnType<ModelFamily> => {
  const fields = parseConfig(schema, document, file);
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  const sliding = fields.use_sliding_window ? fields.sliding_window : null;
  return preNormModel({
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig(document, file, { headDim: heads.headDim, partial: 'refused' }),
    bias: bias(fields),
    headNorm,
    projections: 'separate',
    // The first layers see everything.
    windows: layerWindows(fields, file, {
      window: sliding,
      isSliding: (layer) => sliding !== null && layer >= fields.max_window_layers,
    }),
    kvCacheLayers: headLayers(common.numLayers, heads),
  });
};
