import type { TensorSource } from '@skein/native';
import { CheckpointError } from './errors.ts';
import { type Model, wholeModel } from './model.ts';
import { checkpointParameters, ProgramRecorder } from './program-recorder.ts';

/** Holds a checkpoint against its model: every parameter is there in its shape, and every tensor is a parameter or one that
 *  the family knows to be unneeded. Names of the unneeded come back. Throws CheckpointError naming what does not fit. */
export function checkCheckpoint(model: Model, tensors: ReadonlyMap<string, TensorSource>): string[] {
  const { config } = model;
  // Records the whole model as one stage: what that leaves over, no stage would load.
  const whole = new ProgramRecorder(checkpointParameters(tensors));
  model.record(whole, wholeModel(model, config.maxPositionEmbeddings));
  const unused = [...tensors.keys()].filter((name) => !whole.usedTensors.has(name));
  const extra = unused.filter((name) => !model.isUnneeded(name));
  if (extra.length > 0) {
    throw new CheckpointError(
      `the checkpoint holds ${extra.length} tensors that ${config.architecture} does not use, first ${extra[0]}; config.json lacks a feature of these weights, or is another model's`,
      { details: { tensors: extra.slice(0, 20) } },
    );
  }
  return unused;
}
