import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CheckpointShape,
  type GgufTensorToWrite,
  type GgufValue,
  parseCheckpointShape,
  readCheckpointTensors,
  ropeFrequencies,
  writeGguf,
} from '@skein/models';
import { ropeRowOrder } from '@skein/models/testing';
import type { TensorSource } from '@skein/native';
import { cachedCheckpoint } from '../cached-checkpoint.ts';
import { encodedChunks, type MatrixType } from './gguf-chunks.ts';

/** How the matrices of a GGUF file are stored: those of the layers, and the embedding that is also the head. */
export interface GgufForm {
  readonly layers: MatrixType;
  readonly embedding: MatrixType;
}

/** llama.cpp's names of a layer's tensors. */
const LAYER_TENSORS: Readonly<Record<string, string>> = {
  'input_layernorm.weight': 'attn_norm.weight',
  'self_attn.q_proj.weight': 'attn_q.weight',
  'self_attn.k_proj.weight': 'attn_k.weight',
  'self_attn.v_proj.weight': 'attn_v.weight',
  'self_attn.o_proj.weight': 'attn_output.weight',
  'post_attention_layernorm.weight': 'ffn_norm.weight',
  'mlp.gate_proj.weight': 'ffn_gate.weight',
  'mlp.up_proj.weight': 'ffn_up.weight',
  'mlp.down_proj.weight': 'ffn_down.weight',
};
const FILE_TYPES: Readonly<Record<MatrixType, number>> = { f16: 1, q4_0: 2, q8_0: 7 };
const ORDINARY_TOKEN = 1;
const CONTROL_TOKEN = 3;

/** The GGUF file with the weights of `cachedCheckpoint(shape)`; written beside it on first use, then kept.
 *  @param shape names a shape of the llama family whose embedding is its head. */
export async function cachedGguf(shape: string, form: GgufForm, progress: (line: string) => void): Promise<string> {
  const dir = await cachedCheckpoint(shape, progress);
  const suffix = form.layers === form.embedding ? form.layers : `${form.layers}-${form.embedding}`;
  const file = `${dir}.${suffix}.gguf`;
  const written = await stat(file).catch(() => null);
  if (written !== null) return file;
  progress(`writing ${file}`);
  const sizes = parseCheckpointShape(shape);
  const tensors = await readCheckpointTensors(dir);
  const content = {
    metadata: { ...modelMetadata(sizes, form), ...tokenizerMetadata(dir) },
    tensors: [ropeFactors(sizes), ...[...tensors.values()].map((tensor) => converted(tensor, sizes, form))],
  };
  await writeGguf(file, content, { signal: null });
  return file;
}

function modelMetadata(s: CheckpointShape, form: GgufForm): Record<string, GgufValue> {
  return {
    'general.architecture': ['string', 'llama'],
    'general.name': ['string', 'random weights'],
    'general.file_type': ['u32', FILE_TYPES[form.layers]],
    'llama.vocab_size': ['u32', s.vocab_size],
    'llama.context_length': ['u32', s.max_position_embeddings],
    'llama.embedding_length': ['u32', s.hidden_size],
    'llama.block_count': ['u32', s.num_hidden_layers],
    'llama.feed_forward_length': ['u32', s.intermediate_size],
    'llama.attention.head_count': ['u32', s.num_attention_heads],
    'llama.attention.head_count_kv': ['u32', s.num_key_value_heads],
    'llama.attention.key_length': ['u32', s.head_dim],
    'llama.attention.value_length': ['u32', s.head_dim],
    'llama.attention.layer_norm_rms_epsilon': ['f32', Number(s['rms_norm_eps'])],
    'llama.rope.dimension_count': ['u32', s.head_dim],
    'llama.rope.freq_base': ['f32', s.rope_theta],
  };
}

function tokenizerMetadata(dir: string): Record<string, GgufValue> {
  const { model, added_tokens: added } = JSON.parse(readFileSync(join(dir, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number>; merges: [string, string][] };
    added_tokens: { id: number; content: string }[];
  };
  const { bos_token_id: bos, eos_token_id: eos } = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as {
    bos_token_id: number;
    eos_token_id: number[];
  };
  const tokens = Object.entries(model.vocab)
    .sort(([, a], [, b]) => a - b)
    .map(([token]) => token);
  const types = tokens.map(() => ORDINARY_TOKEN);
  for (const { content } of added) {
    tokens.push(content);
    types.push(CONTROL_TOKEN);
  }
  return {
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', 'llama-bpe'],
    'tokenizer.ggml.tokens': ['string[]', tokens],
    'tokenizer.ggml.token_type': ['i32[]', types],
    'tokenizer.ggml.merges': ['string[]', model.merges.map((pair) => pair.join(' '))],
    'tokenizer.ggml.bos_token_id': ['u32', bos],
    'tokenizer.ggml.eos_token_id': ['u32', eos[0] ?? bos],
  };
}

/** llama.cpp divides each frequency by a number of this tensor, which is how a file says that long waves are stretched. */
function ropeFactors(s: CheckpointShape): GgufTensorToWrite {
  const rope = { theta: s.rope_theta, rotaryDim: s.head_dim };
  const shape = { maxPositionEmbeddings: s.max_position_embeddings, maxModelLen: s.max_position_embeddings };
  const plain = ropeFrequencies({ ...rope, scaling: { type: 'default' } }, shape).inverseFrequencies;
  const scaling = s.rope_scaling;
  const factors =
    scaling === null
      ? plain.map(() => 1)
      : ropeFrequencies(
          {
            ...rope,
            scaling: {
              type: 'llama3',
              factor: Number(scaling['factor']),
              lowFreqFactor: Number(scaling['low_freq_factor']),
              highFreqFactor: Number(scaling['high_freq_factor']),
              originalMaxPositionEmbeddings: Number(scaling['original_max_position_embeddings']),
            },
          },
          shape,
        ).inverseFrequencies.map((scaled, i) => (plain[i] ?? 0) / scaled);
  return {
    name: 'rope_freqs.weight',
    dtype: 'f32',
    shape: [factors.length],
    chunks: () => [new Uint8Array(factors.buffer)],
  };
}

function converted(tensor: TensorSource, s: CheckpointShape, form: GgufForm): GgufTensorToWrite {
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)$/.exec(tensor.name) ?? [];
  const encode = (name: string, dtype: MatrixType | 'f32', rowOrder: readonly number[] | null): GgufTensorToWrite => ({
    name,
    dtype,
    shape: tensor.shape,
    chunks: () => encodedChunks(tensor, dtype, rowOrder),
  });
  if (tensor.name === 'model.embed_tokens.weight') return encode('token_embd.weight', form.embedding, null);
  if (tensor.name === 'model.norm.weight') return encode('output_norm.weight', 'f32', null);
  const name = LAYER_TENSORS[part ?? ''];
  if (name === undefined) throw new Error(`${tensor.name} has no place in a GGUF file of the llama family`);
  const heads: Readonly<Record<string, number>> = {
    'attn_q.weight': s.num_attention_heads,
    'attn_k.weight': s.num_key_value_heads,
  };
  const numHeads = heads[name];
  return encode(
    `blk.${layer}.${name}`,
    tensor.shape.length === 1 ? 'f32' : form.layers,
    numHeads === undefined ? null : ropeRowOrder(numHeads, s.head_dim),
  );
}
