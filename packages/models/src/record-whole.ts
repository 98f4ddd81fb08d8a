import { checkpointParameters, type CheckpointParametersOptions } from './checkpoint-parameters.ts';
import { type Model, wholeModel } from './model.ts';
import { ProgramRecorder } from './program-recorder.ts';
import type { TensorPlace } from './tensor-shard.ts';

export interface CheckpointOfModel extends CheckpointParametersOptions {
  readonly model: Model;
}

/** All layers of a checkpoint as one stage. Throws CheckpointError, ModelConfigError and, for a part, TensorSplitError. */
export function recordWhole(
  checkpoint: CheckpointOfModel,
  options: { readonly maxModelLen?: number; readonly tensor?: TensorPlace } = {},
): ProgramRecorder {
  const { model } = checkpoint;
  const { maxModelLen = model.config.maxPositionEmbeddings, tensor } = options;
  const whole = new ProgramRecorder(checkpointParameters(checkpoint), tensor);
  model.record(whole, wholeModel(model, maxModelLen));
  return whole;
}
