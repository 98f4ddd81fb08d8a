import { z } from 'zod';
import { sandwichNormModel } from '../layers/sandwich-norm-model.ts';
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
  window,
} from '../model-config.ts';
import { parseRopeConfig } from '../rope-config.ts';
import { ropeFrequencies } from '../rope-frequencies.ts';

const cap = z.number().gt(0).max(1e6).nullable();

const fields = {
  ...commonFields,
  ...headFields,
  head_dim: headFields.head_dim.default(256),
  intermediate_size: intermediateSize,
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.boolean().default(false),
  hidden_activation: z.literal('gelu_pytorch_tanh', 'only gelu_pytorch_tanh is served').default('gelu_pytorch_tanh'),
  query_pre_attn_scalar: z.number().gt(0).max(1e6).default(256),
  sliding_window: window.nullable().default(4096),
  layer_types: layerTypes,
};

const gemma2Schema = z.object({
  ...fields,
  attn_logit_softcapping: cap.default(50),
  final_logit_softcapping: cap.default(30),
});

/** Soft caps on scores and logits; every other layer has a window, the first included. */
export const gemma2: ModelFamily = (document, file) => {
  const parsed = parseConfig(gemma2Schema, document, file);
  const config = gemmaConfig(parsed, file, (layer) => layer % 2 === 0);
  const rope = parseRopeConfig(document, file, { headDim: config.headDim, partial: 'refused' });
  const { attn_logit_softcapping: attentionSoftCap, final_logit_softcapping: logitSoftCap } = parsed;
  return sandwichNormModel({ ...config, headNorm: false, attentionSoftCap, logitSoftCap }, (_window, stage) =>
    ropeFrequencies(rope, { ...config, maxModelLen: stage.maxModelLen }),
  );
};

const gemma3Schema = z.object({
  ...fields,
  rope_local_base_freq: z.number().gt(1).max(1e15).default(1e4),
  // The newer spelling; the older one has rope_theta, rope_scaling and rope_local_base_freq.
  rope_parameters: z.object({ full_attention: z.unknown(), sliding_attention: z.unknown() }).nullish(),
  sliding_window_pattern: z.int().min(1).max(4096).default(6),
  attn_logit_softcapping: z.null('a cap on scores is not served for this family').optional(),
  final_logit_softcapping: cap.default(null),
  use_bidirectional_attention: z.literal(false, 'only causal attention is served').default(false),
});

/** The text model: norms of q and k; one layer in six sees everything and turns by its own base, the others have a window. */
export const gemma3: ModelFamily = (document, file) => {
  const parsed = parseConfig(gemma3Schema, document, file);
  const config = gemmaConfig(parsed, file, (layer) => (layer + 1) % parsed.sliding_window_pattern !== 0);
  const { rope_parameters: byType, rope_local_base_freq: localTheta } = parsed;
  const ropeOf = (source: unknown) => parseRopeConfig(source, file, { headDim: config.headDim, partial: 'refused' });
  const older: unknown = { rope_theta: 1e6, ...Object(document) };
  const rope = ropeOf(byType ? { rope_parameters: byType.full_attention } : older);
  const local = ropeOf(byType ? { rope_parameters: byType.sliding_attention } : { rope_theta: localTheta });
  const { final_logit_softcapping: logitSoftCap } = parsed;
  return sandwichNormModel({ ...config, headNorm: true, attentionSoftCap: null, logitSoftCap }, (window, stage) =>
    ropeFrequencies(window === null ? rope : local, { ...config, maxModelLen: stage.maxModelLen }),
  );
};

function gemmaConfig(parsed: z.infer<z.ZodObject<typeof fields>>, file: string, isSliding: (layer: number) => boolean) {
  const common = commonConfig(parsed, file);
  const heads = attentionHeads(parsed, file);
  return {
    ...common,
    ...heads,
    intermediateSize: parsed.intermediate_size,
    rmsNormEps: parsed.rms_norm_eps,
    attentionBias: parsed.attention_bias,
    scale: parsed.query_pre_attn_scalar ** -0.5,
    windows: layerWindows(parsed, file, { window: parsed.sliding_window, isSliding }),
    kvCacheLayers: headLayers(common.numLayers, heads),
  };
}
