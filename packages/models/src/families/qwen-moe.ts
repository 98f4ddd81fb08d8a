import type { ValueId } from '@skein/native';
import { z } from 'zod';
import { checkRouting, GATED_PROJECTIONS, greedyRouting, numExperts, recordMixture } from '../layers/mixture.ts';
import type { LayerPart } from '../layers/pre-norm-decoder.ts';
import { denseFeedForward, preNormModel } from '../layers/pre-norm-model.ts';
import type { Model, ModelFamily } from '../model.ts';
import { intermediateSize, parseConfig } from '../model-config.ts';
import type { ProgramRecorder } from '../program-recorder.ts';
import { qwenConfig, qwenFields, type QwenOptions } from './qwen.ts';

const mixtureFields = {
  ...qwenFields,
  num_experts: numExperts,
  num_experts_per_tok: numExperts,
  moe_intermediate_size: intermediateSize,
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: z.int().min(1).max(4096).default(1),
  mlp_only_layers: z.array(z.int().min(0).max(4095)).max(4096).nullish(),
};

const qwen2Schema = z.object({
  ...mixtureFields,
  qkv_bias: z.boolean().default(true),
  shared_expert_intermediate_size: intermediateSize,
  // Implementations disagree on which layers it would be.
  use_sliding_window: z.literal(false, 'a sliding window is not served for this family').default(false),
});
const qwen3Schema = z.object(mixtureFields);

/** Qwen2 and 1.5 with mixtures, beside which one expert serves every token as much as a gate of its own lets it. */
export const qwen2Moe: ModelFamily = (document, file) => {
  const fields = parseConfig(qwen2Schema, document, file);
  return qwenMoe(fields, {
    document,
    file,
    headNorm: false,
    bias: { qkv: fields.qkv_bias, o: false, mlp: false },
    sharedSize: fields.shared_expert_intermediate_size,
  });
};

/** Qwen3 with mixtures. */
export const qwen3Moe: ModelFamily = (document, file) => {
  const fields = parseConfig(qwen3Schema, document, file);
  const bias = { qkv: fields.attention_bias, o: fields.attention_bias, mlp: false };
  // A window is one of all layers.
  return qwenMoe({ ...fields, max_window_layers: 0 }, { document, file, headNorm: true, bias, sharedSize: null });
};

type Fields = z.infer<typeof qwen3Schema>;

/** @param options.sharedSize inner width of the shared expert; null for none. */
function qwenMoe(fields: Fields, options: QwenOptions & { readonly sharedSize: number | null }): Model {
  const mixture = {
    numExperts: fields.num_experts,
    innerSize: fields.moe_intermediate_size,
    sharedSize: options.sharedSize,
    step: fields.decoder_sparse_step,
    denseLayers: fields.mlp_only_layers ?? [],
    routing: greedyRouting({ topK: fields.num_experts_per_tok, renormalize: fields.norm_topk_prob, scale: 1 }),
  };
  checkRouting(mixture.routing, mixture.numExperts, options.file);
  const config = { ...qwenConfig(fields, options), mixture };
  const dense = denseFeedForward(config);
  const feedForward: LayerPart = (r, x, place) => {
    if ((place.layer + 1) % mixture.step !== 0 || mixture.denseLayers.includes(place.layer)) return dense(r, x, place);
    const name = `${place.name}.mlp`;
    const { layer } = place;
    const mixed = recordMixture(r, x, {
      ...mixture,
      name,
      layer,
      correctionBias: null,
      projections: GATED_PROJECTIONS,
    });
    return mixture.sharedSize === null ? mixed : r.add(mixed, recordSharedExpert(r, x, name, mixture.sharedSize));
  };
  return preNormModel(config, feedForward);
}

/** The shared expert is a mixture of one, whose weight is the sigmoid of its gate. */
function recordSharedExpert(r: ProgramRecorder, x: ValueId, name: string, innerSize: number): ValueId {
  const gate = r.linear(x, `${name}.shared_expert_gate`, { width: 1, bias: false, kind: 'router' });
  const routing = greedyRouting({ topK: 1, renormalize: false, scale: 1 });
  const routes = r.route(gate, { ...routing, scoring: 'sigmoid', correctionBias: null });
  const shared = `${name}.shared_expert`;
  const expert = {
    id: 0,
    gate: `${shared}.gate_proj.weight`,
    up: `${shared}.up_proj.weight`,
    down: `${shared}.down_proj.weight`,
  };
  // Every token has it: there is nothing to count.
  return r.experts(x, routes, { innerSize, layer: null, experts: [expert] });
}
