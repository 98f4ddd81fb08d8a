import { z } from 'zod';
import { checkRouting, greedyRouting, numExperts, recordMixture } from '../layers/mixture.ts';
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
  num_local_experts: numExperts.default(8),
  num_experts_per_tok: numExperts.default(2),
  hidden_act: silu,
  sliding_window: window.nullish(),
});

/** Mistral whose feed-forwards are mixtures. */
export const mixtral: ModelFamily = (document, file) => {
  // Fields that a config may leave out where they are these.
  const complete: unknown = { num_key_value_heads: 8, rope_theta: 1e6, ...Object(document) };
  const fields = parseConfig(schema, complete, file);
  const common = commonConfig(fields, file);
  const heads = attentionHeads(fields, file);
  const mixture = {
    numExperts: fields.num_local_experts,
    innerSize: fields.intermediate_size,
    routing: greedyRouting({ topK: fields.num_experts_per_tok, renormalize: true, scale: 1 }),
  };
  checkRouting(mixture.routing, mixture.numExperts, file);
  const config = {
    ...common,
    ...heads,
    intermediateSize: fields.intermediate_size,
    mixture,
    rmsNormEps: fields.rms_norm_eps,
    rope: parseRopeConfig(complete, file, { headDim: heads.headDim, partial: 'refused' }),
    bias: { qkv: false, o: false, mlp: false },
    headNorm: false,
    projections: 'separate' as const,
    windows: Array.from({ length: common.numLayers }, () => fields.sliding_window ?? null),
    kvCacheLayers: headLayers(common.numLayers, heads),
  };
  const projections = { gate: 'w1', up: 'w3', down: 'w2' };
  return preNormModel(config, (r, x, { name, layer }) =>
    recordMixture(r, x, { ...mixture, name: `${name}.block_sparse_moe`, layer, correctionBias: null, projections }),
  );
};
