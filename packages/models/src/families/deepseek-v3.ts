import { z } from 'zod';
import type { ModelFamily } from '../model.ts';
import { deepseekFields, deepseekModel } from './deepseek.ts';

const schema = z.object({
  ...deepseekFields,
  topk_method: z.literal('noaux_tc', 'only noaux_tc is served').default('noaux_tc'),
  scoring_func: z.literal('sigmoid', 'only sigmoid is served').default('sigmoid'),
  norm_topk_prob: z.boolean().default(true),
  routed_scaling_factor: z.number().gt(0).max(1e6).default(2.5),
  first_k_dense_replace: z.int().min(0).max(4096).default(3),
  rope_interleave: z.boolean().default(true),
  num_nextn_predict_layers: z.int().min(0).max(64).default(0),
});

/** DeepSeek-V3 and R1, and what shares their form: routers choose on corrected scores, and weigh by the scores as they were.
 *  An expert outside the best groups is never chosen, as in the model's own code; transformers ranks it with zero. */
export const deepseekV3: ModelFamily = (document, file) =>
  deepseekModel({
    schema,
    document,
    file,
    routing: (fields) => ({
      scoring: 'sigmoid',
      topK: fields.num_experts_per_tok ?? 0,
      numGroups: fields.n_group ?? 1,
      topKGroups: fields.topk_group ?? 1,
      groupScore: 'bestTwo',
      renormalize: fields.norm_topk_prob,
      scale: fields.routed_scaling_factor,
    }),
    correctionBias: true,
    interleaved: (fields) => fields.rope_interleave,
    predictionLayers: (fields) => fields.num_nextn_predict_layers,
  });
