import { closeSync, openSync, readSync } from 'node:fs';
import type { TensorSource } from '@skein/native';
import { CheckpointError } from '../errors.ts';
import type { GgufValues } from './gguf-values.ts';

/** Tensors that say how rotary embeddings turn, and are no parameters. */
export const ROPE_TENSORS: readonly string[] = [
  'rope_freqs.weight',
  'rope_factors_short.weight',
  'rope_factors_long.weight',
];

const FACTORS_MAX = 1024;

/** config.json's `rope_scaling` of a file; null for none. Factors for each component, which llama.cpp stores as tensors, are
 *  `longrope`: what config.json calls `llama3` is among them. */
export function ropeScaling(values: GgufValues, tensors: ReadonlyMap<string, TensorSource>): object | null {
  const [all, short, long] = ROPE_TENSORS.map((name) => tensors.get(name));
  const trained = values.number('rope.scaling.original_context_length');
  if (all !== undefined) {
    const factors = readFactors(all);
    return { rope_type: 'longrope', short_factor: factors, long_factor: factors, attention_factor: 1 };
  }
  if (short !== undefined && long !== undefined) {
    return {
      rope_type: 'longrope',
      short_factor: readFactors(short),
      long_factor: readFactors(long),
      original_max_position_embeddings: trained,
      attention_factor: values.number('rope.scaling.attn_factor'),
    };
  }
  const factor = values.number('rope.scaling.factor') ?? values.number('rope.scale_linear') ?? 0;
  const type = values.text('rope.scaling.type') ?? 'linear';
  // Files write 0 or 1 for none.
  if (type === 'none' || factor === 0 || (factor === 1 && type === 'linear')) return null;
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type !== 'yarn')
    throw values.refused('rope.scaling.type', 'served are none, linear, yarn, and longrope with tensors');
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: trained,
    beta_fast: values.number('rope.scaling.yarn_beta_fast'),
    beta_slow: values.number('rope.scaling.yarn_beta_slow'),
    ...yarnMagnitudes(values, factor),
  };
}

/** How scores grow: DeepSeek's files give a tenth of mscale_all_dim, which its published models all have equal to mscale; others
 *  a multiple of what yarn itself prescribes. */
function yarnMagnitudes(values: GgufValues, factor: number): object {
  const perLogarithm = values.number('rope.scaling.yarn_log_multiplier');
  if (perLogarithm) return { mscale: 10 * perLogarithm, mscale_all_dim: 10 * perLogarithm };
  const multiple = values.number('rope.scaling.attn_factor') ?? 1;
  return multiple === 1 ? {} : { attention_factor: multiple * (0.1 * Math.log(factor) + 1) };
}

function readFactors({ file, name, dtype, shape, offsetBytes, sizeBytes }: TensorSource): number[] {
  if (dtype !== 'f32' || shape.length !== 1 || (shape[0] ?? 0) > FACTORS_MAX) {
    throw new CheckpointError(
      `${file}: tensor ${name} has type ${dtype} and shape [${shape.join(', ')}]; up to ${FACTORS_MAX} numbers in F32 are needed`,
      { details: { file, name } },
    );
  }
  const bytes = new Uint8Array(sizeBytes);
  const fd = openSync(file, 'r');
  try {
    readSync(fd, bytes, 0, sizeBytes, offsetBytes);
  } finally {
    closeSync(fd);
  }
  return [...new Float32Array(bytes.buffer)];
}
