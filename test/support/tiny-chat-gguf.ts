import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type EncodableDtype,
  encodeGgml,
  type GgufTensorToWrite,
  readCheckpointTensors,
  writeGguf,
} from '@skein/models';
import { decodeGgml, ropeRowOrder } from '@skein/models/testing';
import type { TensorSource } from '@skein/native';

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens\./, 'token_embd.'],
  [/^model\.norm\./, 'output_norm.'],
  [/^model\.layers\.(\d+)\./, 'blk.$1.'],
  [/input_layernorm/, 'attn_norm'],
  [/post_attention_layernorm/, 'ffn_norm'],
  [/self_attn\.([qkv])_proj/, 'attn_$1'],
  [/self_attn\.o_proj/, 'attn_output'],
  [/mlp\.(gate|up|down)_proj/, 'ffn_$1'],
];

/** Writes the llama checkpoint with byte-level tokens in `folder` as a GGUF file, matrices in `dtype`. */
export async function writeTinyChatGguf(folder: string, file: string, dtype: EncodableDtype): Promise<void> {
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  const config = JSON.parse(read('config.json'));
  const { model, added_tokens: added } = JSON.parse(read('tokenizer.json'));
  const tokens = Object.keys(model.vocab).sort((a, b) => model.vocab[a] - model.vocab[b]);
  const special = new Set<number>(added.map((token: { id: number }) => token.id));
  const heads = new Map<string, number>([
    ['attn_q', config.num_attention_heads],
    ['attn_k', config.num_key_value_heads],
  ]);
  const tensors = [...(await readCheckpointTensors(folder)).values()].map((source) => {
    const name = NAMES.reduce((text, [pattern, short]) => text.replace(pattern, short), source.name);
    return encoded(source, name, { dtype, numHeads: heads.get(name.split('.').at(-2) ?? '') ?? null });
  });
  const metadata = {
    'general.architecture': ['string', 'llama'],
    'llama.block_count': ['u32', config.num_hidden_layers],
    'llama.context_length': ['u32', config.max_position_embeddings],
    'llama.embedding_length': ['u32', config.hidden_size],
    'llama.feed_forward_length': ['u32', config.intermediate_size],
    'llama.attention.head_count': ['u32', config.num_attention_heads],
    'llama.attention.head_count_kv': ['u32', config.num_key_value_heads],
    'llama.attention.layer_norm_rms_epsilon': ['f32', config.rms_norm_eps],
    'llama.rope.freq_base': ['f32', config.rope_theta],
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', 'qwen2'],
    'tokenizer.ggml.tokens': ['string[]', tokens],
    'tokenizer.ggml.token_type': ['i32[]', tokens.map((_, id) => (special.has(id) ? 3 : 1))],
    'tokenizer.ggml.merges': ['string[]', model.merges.map((pair: string[]) => pair.join(' '))],
    'tokenizer.ggml.eos_token_id': ['u32', config.eos_token_id],
    'tokenizer.chat_template': ['string', JSON.parse(read('tokenizer_config.json')).chat_template],
  } as const;
  await writeGguf(file, { metadata, tensors }, { signal: null });
}

/** Vectors stay f32; rows of q and k go in the order in which neighbours turn together. */
function encoded(
  source: TensorSource,
  name: string,
  { dtype, numHeads }: { readonly dtype: EncodableDtype; readonly numHeads: number | null },
): GgufTensorToWrite {
  const { file, offsetBytes, sizeBytes, shape } = source;
  if (source.dtype !== 'bf16') throw new Error(`${source.name} is ${source.dtype}`);
  const values = decodeGgml('bf16', readFileSync(file).subarray(offsetBytes, offsetBytes + sizeBytes));
  const [numRows = 0, cols] = shape;
  if (cols === undefined) return { name, dtype: 'f32', shape, chunks: () => [encodeGgml('f32', values)] };
  const rowOf = (row: number): Float32Array => values.subarray(row * cols, (row + 1) * cols);
  const order = numHeads === null ? Array.from(Array(numRows).keys()) : ropeRowOrder(numHeads, numRows / numHeads);
  return {
    name,
    dtype,
    shape,
    *chunks() {
      for (const row of order) yield encodeGgml(dtype, rowOf(row));
    },
  };
}
