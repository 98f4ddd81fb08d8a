import type { TensorSource } from '@skein/native';
import { CheckpointError } from '../errors.ts';

/** A layer's parameters: how a file calls the module, and how the family does. `{e}` in a family's name stands for the number
 *  of an expert: the file has the experts' matrices as one tensor. */
export type TensorNames = Readonly<Record<string, string>>;

const ENDS: TensorNames = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

const ATTENTION: TensorNames = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
};

const DENSE: TensorNames = {
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

const EXPERTS: TensorNames = {
  ffn_gate_inp: 'mlp.gate',
  ffn_gate_exps: 'mlp.experts.{e}.gate_proj',
  ffn_up_exps: 'mlp.experts.{e}.up_proj',
  ffn_down_exps: 'mlp.experts.{e}.down_proj',
};

export const PLAIN_NAMES: TensorNames = { ...ATTENTION, ...DENSE, ffn_norm: 'post_attention_layernorm' };

export const PHI3_NAMES: TensorNames = {
  ...PLAIN_NAMES,
  attn_qkv: 'self_attn.qkv_proj',
  ffn_up: 'mlp.gate_up_proj',
};

export const GEMMA_NAMES: TensorNames = {
  ...ATTENTION,
  ...DENSE,
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};

export const QWEN_MOE_NAMES: TensorNames = {
  ...PLAIN_NAMES,
  ...EXPERTS,
  ffn_gate_inp_shexp: 'mlp.shared_expert_gate',
  ffn_gate_shexp: 'mlp.shared_expert.gate_proj',
  ffn_up_shexp: 'mlp.shared_expert.up_proj',
  ffn_down_shexp: 'mlp.shared_expert.down_proj',
};

export const MIXTRAL_NAMES: TensorNames = {
  ...ATTENTION,
  ffn_norm: 'post_attention_layernorm',
  ffn_gate_inp: 'block_sparse_moe.gate',
  ffn_gate_exps: 'block_sparse_moe.experts.{e}.w1',
  ffn_up_exps: 'block_sparse_moe.experts.{e}.w3',
  ffn_down_exps: 'block_sparse_moe.experts.{e}.w2',
};

export const DEEPSEEK_NAMES: TensorNames = {
  ...PLAIN_NAMES,
  ...EXPERTS,
  attn_q_a: 'self_attn.q_a_proj',
  attn_q_a_norm: 'self_attn.q_a_layernorm',
  attn_q_b: 'self_attn.q_b_proj',
  attn_kv_a_mqa: 'self_attn.kv_a_proj_with_mqa',
  attn_kv_a_norm: 'self_attn.kv_a_layernorm',
  attn_kv_b: 'self_attn.kv_b_proj',
  ffn_gate_shexp: 'mlp.shared_experts.gate_proj',
  ffn_up_shexp: 'mlp.shared_experts.up_proj',
  ffn_down_shexp: 'mlp.shared_experts.down_proj',
};

/** The correction bias is the one parameter that is no module's weight or bias to its family. */
const CORRECTION_BIAS = 'exp_probs_b.bias';

/** A file's tensors as the family names and shapes its parameters. One that it has no name for keeps its own, so that an error
 *  can say it. */
export function namedParameters(
  tensors: ReadonlyMap<string, TensorSource>,
  names: TensorNames,
): Map<string, TensorSource> {
  const found = new Map<string, TensorSource>();
  for (const tensor of tensors.values())
    for (const part of partsOf(tensor, parameterName(tensor.name, names))) found.set(part.name, part);
  return found;
}

function parameterName(name: string, names: TensorNames): string {
  const [, layer, module, parameter] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  if (module === undefined) return name;
  if (layer === undefined) return Object.hasOwn(ENDS, module) ? `${ENDS[module]}.${parameter}` : name;
  const place = `model.layers.${layer}`;
  if (`${module}.${parameter}` === CORRECTION_BIAS) return `${place}.mlp.gate.e_score_correction_bias`;
  return Object.hasOwn(names, module) ? `${place}.${names[module]}.${parameter}` : name;
}

/** The tensor under its name; each expert's part of it; or the gate of one row that files have as a vector. */
function partsOf(tensor: TensorSource, name: string): TensorSource[] {
  if (name.endsWith('.shared_expert_gate.weight') && tensor.shape.length === 1)
    return [{ ...tensor, name, shape: [1, ...tensor.shape] }];
  if (!name.includes('{e}')) return [{ ...tensor, name }];
  const [numExperts = 0, ...shape] = tensor.shape;
  if (shape.length !== 2) {
    const shown = tensor.shape.join(', ');
    throw new CheckpointError(
      `${tensor.file}: tensor ${tensor.name} has shape [${shown}]; one matrix for each expert is needed`,
      { details: { file: tensor.file, name: tensor.name } },
    );
  }
  // Experts lie one behind another, rows are whole blocks, so each is a run of bytes.
  const sizeBytes = tensor.sizeBytes / numExperts;
  return Array.from({ length: numExperts }, (_, e) => ({
    ...tensor,
    name: name.replace('{e}', String(e)),
    offsetBytes: tensor.offsetBytes + e * sizeBytes,
    sizeBytes,
    shape,
  }));
}
