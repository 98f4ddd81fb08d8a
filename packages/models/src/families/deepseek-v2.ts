import { z } from 'zod';
import { greedyRouting } from '../layers/mixture.ts';
import type { ModelFamily } from '../model.ts';
import { deepseekFields, deepseekModel } from './deepseek.ts';

const schema = z.object({
  ...deepseekFields,
  topk_method: z.enum(['greedy', 'group_limited_greedy']).default('greedy'),
  scoring_func: z.literal('softmax', 'only softmax is served').default('softmax'),
  // With true, what routed_scaling_factor does differs between implementations, and no published checkpoint settles it.
  norm_topk_prob: z.literal(false, 'only false is served').default(false),
  mlp_bias: z.literal(false, 'only false is served').default(false),
});

/** DeepSeek-V2, its Lite and Coder forms among them. Scores are scaled as in the model's own code: transformers 4.57 leaves
 *  out yarn's part. */
export const deepseekV2: ModelFamily = (document, file) =>
  deepseekModel({
    schema,
    document,
    file,
    routing(fields) {
      const grouped = fields.topk_method === 'group_limited_greedy';
      return {
        ...greedyRouting({
          topK: fields.num_experts_per_tok ?? 0,
          renormalize: false,
          scale: fields.routed_scaling_factor,
        }),
        numGroups: (grouped && fields.n_group) || 1,
        topKGroups: (grouped && fields.topk_group) || 1,
      };
    },
    correctionBias: false,
    interleaved: () => true,
    predictionLayers: () => 0,
  });
