import { z } from 'zod';
import { recordGatedMlp } from '../layers/gated-mlp.ts';
import { recordLatentAttention } from '../layers/latent-attention.ts';
import { checkRouting, GATED_PROJECTIONS, numExperts, recordMixture, type Routing } from '../layers/mixture.ts';
import { type LayerPart, preNormDecoder } from '../layers/pre-norm-decoder.ts';
import { denseFeedForward } from '../layers/pre-norm-model.ts';
import type { Model } from '../model.ts';
import { commonConfig, commonFields, intermediateSize, parseConfig, refusedField, silu } from '../model-config.ts';
import { parseRopeConfig, type RopeConfig } from '../rope-config.ts';
import { ropeFrequencies, yarnMagnitude } from '../rope-frequencies.ts';

const PLAIN = { projections: 'separate', bias: { qkv: false, o: false, mlp: false } } as const;

const dim = z
  .int()
  .min(1)
  .max(2 ** 16);

/** What config.json has in both generations. */
export const deepseekFields = {
  ...commonFields,
  num_attention_heads: z.int().min(1).max(4096),
  intermediate_size: intermediateSize,
  kv_lora_rank: dim,
  q_lora_rank: dim.nullable(),
  qk_nope_head_dim: dim,
  qk_rope_head_dim: dim.multipleOf(2, 'rotary embeddings need an even size'),
  v_head_dim: dim,
  attention_bias: z.boolean().default(false),
  n_routed_experts: numExperts.nullable(),
  n_shared_experts: z.int().min(1).max(1024).nullish(),
  num_experts_per_tok: numExperts.nullish(),
  moe_intermediate_size: intermediateSize,
  first_k_dense_replace: z.int().min(0).max(4096).default(0),
  moe_layer_freq: z.int().min(1).max(4096).default(1),
  n_group: numExperts.nullish(),
  topk_group: numExperts.nullish(),
  norm_topk_prob: z.boolean().default(false),
  routed_scaling_factor: z.number().gt(0).max(1e6).default(1),
  hidden_act: silu,
};

type Fields = z.infer<z.ZodObject<typeof deepseekFields>>;

export interface DeepseekOptions<T extends Fields> {
  readonly schema: z.ZodType<T>;
  readonly document: unknown;
  readonly file: string;
  /** Called when the model has routed experts. */
  readonly routing: (fields: T) => Routing;
  /** Whether routers have a bias that corrects their choice. */
  readonly correctionBias: boolean;
  /** Whether elements 2i and 2i + 1 rotate together, rather than i and half + i. */
  readonly interleaved: (fields: T) => boolean;
  /** Layers behind the last that predict further tokens; their tensors are not read. */
  readonly predictionLayers: (fields: T) => number;
}

/** DeepSeek: multi-head latent attention; the feed-forward of the first layers is dense, that of others a mixture beside
 *  experts that all tokens share. */
export function deepseekModel<T extends Fields>(options: DeepseekOptions<T>): Model {
  const fields = parseConfig(options.schema, options.document, options.file);
  const config = configOf(fields, options);
  const { heads, queryRank, scale, interleaved, attentionBias: bias } = config;
  const decoder = preNormDecoder(config, {
    attention({ maxModelLen }) {
      const { maxPositionEmbeddings } = config;
      const rope = ropeFrequencies(config.rope, { maxPositionEmbeddings, maxModelLen });
      return (r, x, { name, cacheLayer }) =>
        recordLatentAttention(r, x, {
          name: `${name}.self_attn`,
          cacheLayer,
          heads,
          queryRank,
          scale,
          rope,
          interleaved,
          bias,
        });
    },
    feedForward: feedForwardOf(config),
  });
  const firstUnserved = config.numLayers + options.predictionLayers(fields);
  return {
    ...decoder,
    isUnneeded(name) {
      const layer = Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
      return decoder.isUnneeded(name) || (layer >= config.numLayers && layer < firstUnserved);
    },
  };
}

function feedForwardOf({ mixture, intermediateSize }: ReturnType<typeof configOf>): LayerPart {
  const dense = denseFeedForward({ intermediateSize, ...PLAIN });
  if (mixture === null) return dense;
  const { firstLayer, layerStep, sharedExperts, ...options } = mixture;
  return (r, x, place) => {
    if (place.layer < firstLayer || place.layer % layerStep !== 0) return dense(r, x, place);
    const name = `${place.name}.mlp`;
    const correctionBias = mixture.correctionBias ? `${name}.gate.e_score_correction_bias` : null;
    const { layer } = place;
    const mixed = recordMixture(r, x, { ...options, name, layer, correctionBias, projections: GATED_PROJECTIONS });
    if (sharedExperts === 0) return mixed;
    // All shared experts are stored as one that is as wide as they are together.
    const shared = { name: `${name}.shared_experts`, intermediateSize: sharedExperts * options.innerSize };
    return r.add(mixed, recordGatedMlp(r, x, { ...shared, activation: 'silu', projections: 'separate', bias: false }));
  };
}

function configOf<T extends Fields>(fields: T, options: DeepseekOptions<T>) {
  const { document, file } = options;
  const common = commonConfig(fields, file);
  const heads = {
    numHeads: fields.num_attention_heads,
    nopeDim: fields.qk_nope_head_dim,
    ropeDim: fields.qk_rope_head_dim,
    valueDim: fields.v_head_dim,
    latentDim: fields.kv_lora_rank,
  };
  const { latentDim, ropeDim } = heads;
  const rope = parseRopeConfig(document, file, { headDim: ropeDim, partial: 'refused' });
  return {
    ...common,
    heads,
    queryRank: fields.q_lora_rank,
    scale: (heads.nopeDim + ropeDim) ** -0.5 * scoreMagnitude(rope) ** 2,
    intermediateSize: fields.intermediate_size,
    rmsNormEps: fields.rms_norm_eps,
    rope,
    interleaved: options.interleaved(fields),
    attentionBias: fields.attention_bias,
    mixture: mixtureOf(fields, options),
    kvCacheLayers: Array.from({ length: common.numLayers }, () => ({ kind: 'latent' as const, latentDim, ropeDim })),
  };
}

/** With yarn, queries and keys each grow by this. */
function scoreMagnitude({ scaling }: RopeConfig): number {
  return scaling.type === 'yarn' && scaling.mscaleAllDim ? yarnMagnitude(scaling.factor, scaling.mscaleAllDim) : 1;
}

function mixtureOf<T extends Fields>(fields: T, { file, routing: routingOf, correctionBias }: DeepseekOptions<T>) {
  const { n_routed_experts: experts } = fields;
  if (experts === null) return null;
  if (fields.num_experts_per_tok == null) {
    const why = `needed with n_routed_experts ${experts}`;
    throw refusedField(file, { field: 'num_experts_per_tok', value: null, why });
  }
  const routing = routingOf(fields);
  checkRouting(routing, experts, file);
  return {
    numExperts: experts,
    innerSize: fields.moe_intermediate_size,
    sharedExperts: fields.n_shared_experts ?? 0,
    firstLayer: fields.first_k_dense_replace,
    layerStep: fields.moe_layer_freq,
    routing,
    correctionBias,
  };
}
