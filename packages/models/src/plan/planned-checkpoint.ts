import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TensorSource } from '@skein/native';
import { readCheckpointTensors } from '../checkpoint-tensors.ts';
import { ggufFiles } from '../gguf/gguf-files.ts';
import type { Model } from '../model.ts';
import { parseModel, readModel } from '../model-registry.ts';
import type { QuantizationOption } from '../quantization/quantization-option.ts';
import { CHECKPOINT_SHAPES } from '../random-checkpoint/checkpoint-shapes.ts';
import { INDEX_FILE, SINGLE_FILE } from '../safetensors.ts';
import { assumedTensors } from './assumed-tensors.ts';

/** A model to plan for. */
export interface PlannedCheckpoint {
  readonly name: string;
  readonly model: Model;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly quantization: QuantizationOption;
  /** Whether the tensors follow from the config: there are no weights to look at. */
  readonly isAssumed: boolean;
}

/** Of a shape's name, bf16 unless the shape says how it is quantized, or of a GGUF file, or of a folder with a config.json; where
 *  the folder has no weights they are taken to be what the config says. Throws ModelConfigError, CheckpointError. */
export async function readPlannedCheckpoint(
  model: string,
  quantization: QuantizationOption,
): Promise<PlannedCheckpoint> {
  const shape = Object.hasOwn(CHECKPOINT_SHAPES, model) ? CHECKPOINT_SHAPES[model] : undefined;
  if (shape !== undefined)
    return assumed(model, parseModel({ torch_dtype: 'bfloat16', ...shape }, model), quantization);
  const parsed = await readModel(model);
  const name = basename(model, '.gguf');
  if (ggufFiles(model) === null && ![SINGLE_FILE, INDEX_FILE].some((file) => existsSync(join(model, file))))
    return assumed(name, parsed, quantization);
  return { name, model: parsed, tensors: await readCheckpointTensors(model), quantization, isAssumed: false };
}

function assumed(name: string, model: Model, quantization: QuantizationOption): PlannedCheckpoint {
  return { name, model, tensors: assumedTensors(model), quantization, isAssumed: true };
}
