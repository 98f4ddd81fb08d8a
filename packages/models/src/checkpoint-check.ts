import { CheckpointError } from './errors.ts';
import { type CheckpointOfModel, recordWhole } from './record-whole.ts';
import { WHOLE } from './tensor-shard.ts';

/** Scales and zero points of a cache of 8 bits, under the names that exporters give them. A cache here has the type that
 *  --kv-cache-dtype says, and takes none of them. */
const CACHE_SCALE = /\.self_attn\.((attn|[kqv]_proj)\.)?(q|k|v|kv|prob|output)_(scale|zero_point)$/;

export interface CheckpointCheckOptions extends CheckpointOfModel {
  /** Ranks that will share each layer; 1 where it is left out. */
  readonly tensorSize?: number;
}

/** Holds a checkpoint against its model: every parameter is there in its shape, and every tensor is a parameter or one that
 *  the family knows to be unneeded. Names of the unneeded come back. Throws CheckpointError naming what does not fit,
 *  and TensorSplitError where the model has too few heads or rows for its ranks. */
export function checkCheckpoint(options: CheckpointCheckOptions): string[] {
  const { model, tensors, tensorSize = 1 } = options;
  const { config } = model;
  // Records the whole model as one stage: what that leaves over, no stage would load.
  const whole = recordWhole(options);
  if (tensorSize > 1) recordWhole(options, { tensor: { ...WHOLE, size: tensorSize } });
  const unused = [...tensors.keys()].filter((name) => !whole.usedTensors.has(name));
  const isUnneeded = (name: string): boolean =>
    model.isUnneeded(name) || (config.quantization !== null && CACHE_SCALE.test(name));
  const extra = unused.filter((name) => !isUnneeded(name));
  if (extra.length > 0) {
    throw new CheckpointError(
      `the checkpoint holds ${extra.length} tensors that ${config.architecture} does not use, first ${extra[0]}; config.json lacks a feature of these weights, or is another model's`,
      { details: { tensors: extra.slice(0, 20) } },
    );
  }
  return unused;
}
