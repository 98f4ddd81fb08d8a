import type { TensorSource } from '@skein/native';
import { CheckpointError, ModelConfigError } from '../errors.ts';
import type { ParameterForm } from '../program-recorder.ts';
import { endTokenIds } from './end-tokens.ts';
import { GGUF_ARCHITECTURES, type GgufArchitecture } from './gguf-architectures.ts';
import { ROPE_TENSORS, ropeScaling } from './gguf-rope.ts';
import { GgufValues } from './gguf-values.ts';
import { type GgufFile, readGguf } from './read-gguf.ts';
import type { GgufMetadataValue } from './read-value.ts';
import { namedParameters } from './tensor-names.ts';

const EMBEDDING = 'token_embd.weight';
const HEAD = 'output.weight';

/** A GGUF model as a family reads it. @param files as `ggufFiles` gives them. Throws ModelConfigError, CheckpointError. */
export function describeGguf(files: readonly string[]): {
  /** What config.json would say. */
  readonly document: object;
  readonly form: ParameterForm;
} {
  const { file, metadata, tensors } = readParts(files, { arrays: true });
  const { architecture, values } = architectureOf(file, metadata);
  const { name, fields } = architecture.describe(values, tensors);
  const heads = values.needed('attention.head_count');
  const width = values.needed('embedding_length');
  const document = {
    architectures: [name],
    vocab_size: vocabSize(file, tensors),
    hidden_size: width,
    num_hidden_layers: values.needed('block_count'),
    max_position_embeddings: values.needed('context_length'),
    num_attention_heads: heads,
    num_key_value_heads: values.number('attention.head_count_kv') ?? heads,
    head_dim: headDim(values, width / heads),
    intermediate_size: values.needed('feed_forward_length'),
    rms_norm_eps: values.needed('attention.layer_norm_rms_epsilon'),
    rope_theta: values.number('rope.freq_base') ?? 1e4,
    rope_scaling: ropeScaling(values, tensors),
    tie_word_embeddings: !tensors.has(HEAD),
    // What llama.cpp keeps its cache in; other files leave it to what they are stored in.
    torch_dtype: isQuantized(tensors) ? 'float16' : null,
    bos_token_id: metadata.get('tokenizer.ggml.bos_token_id') ?? null,
    eos_token_id: endTokenIds(metadata),
    ...fields,
  };
  return { document, form: architecture.form };
}

/** The parameters of a GGUF model, by the names that its family gives them. */
export function readGgufTensors(files: readonly string[]): Map<string, TensorSource> {
  const { file, metadata, tensors } = readParts(files, { arrays: false });
  const { architecture, values } = architectureOf(file, metadata);
  const parameters = new Map([...tensors].filter(([name]) => !ROPE_TENSORS.includes(name)));
  return namedParameters(parameters, architecture.names(values));
}

/** The first file's values, and the tensors of all. */
function readParts([first = '', ...rest]: readonly string[], options: { readonly arrays: boolean }): GgufFile {
  const { file, metadata, tensors: own } = readGguf(first, options);
  const tensors = new Map(own);
  for (const part of rest) {
    for (const [name, tensor] of readGguf(part, { arrays: false }).tensors) {
      const other = tensors.get(name);
      if (other !== undefined)
        throw new CheckpointError(`${part}: has tensor ${name}, and so has ${other.file}; download the model again`, {
          details: { file: part, name },
        });
      tensors.set(name, tensor);
    }
  }
  return { file, metadata, tensors };
}

function architectureOf(
  file: string,
  metadata: ReadonlyMap<string, GgufMetadataValue>,
): { readonly architecture: GgufArchitecture; readonly values: GgufValues } {
  const name = metadata.get('general.architecture');
  const architecture = typeof name === 'string' ? GGUF_ARCHITECTURES.get(name) : undefined;
  if (typeof name === 'string' && architecture !== undefined)
    return { architecture, values: new GgufValues(file, name, metadata) };
  const shown = JSON.stringify(name === undefined ? null : String(name).slice(0, 100));
  throw new ModelConfigError(
    `${file}: general.architecture is ${shown}; served are ${[...GGUF_ARCHITECTURES.keys()].join(', ')}`,
    { details: { file, field: 'general.architecture', value: shown } },
  );
}

function headDim(values: GgufValues, evenShare: number): number {
  const key = values.number('attention.key_length') ?? evenShare;
  const value = values.number('attention.value_length') ?? key;
  // Latent attention has its own sizes, which its family reads.
  if (key === value || values.number('attention.kv_lora_rank') !== undefined) return key;
  throw values.refused('attention.value_length', `keys have ${key}, and heads must have the same size`);
}

function vocabSize(file: string, tensors: ReadonlyMap<string, TensorSource>): number {
  const rows = tensors.get(EMBEDDING)?.shape[0];
  if (rows !== undefined) return rows;
  throw new CheckpointError(`${file}: lacks tensor ${EMBEDDING}; this is no whole model`, { details: { file } });
}

function isQuantized(tensors: ReadonlyMap<string, TensorSource>): boolean {
  return [...tensors.values()].some(({ dtype }) => dtype.startsWith('q'));
}
