import type { Dtype, ProgramLimits, ProgramSpec, TensorSource } from '@skein/native';
import { CheckpointError, ModelConfigError, StageSplitError } from './errors.ts';
import type { ModelConfig } from './model-config.ts';
import { MODEL_FAMILIES } from './model-families.ts';
import { ProgramRecorder } from './program-recorder.ts';
import type { LayerRange } from './stage-layers.ts';

export interface StageProgramOptions {
  readonly config: ModelConfig;
  /** All tensors of the checkpoint, whatever the stage. */
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly stages: number;
  readonly stage: number;
  readonly layers: LayerRange;
  readonly limits: ProgramLimits;
  readonly kvCache: { readonly numBlocks: number; readonly blockSize: number; readonly dtype: Dtype };
}

/** The program of one stage, with its own weights and no others. Throws CheckpointError when a parameter is missing or has
 *  another shape, or when the checkpoint holds a tensor that no stage uses. */
export function buildStageProgram(options: StageProgramOptions): ProgramSpec {
  const { config, tensors, stages, stage, layers, limits, kvCache } = options;
  const [first, end] = layers;
  if (!(stage >= 0 && stage < stages && first >= 0 && first < end && end <= config.numLayers)) {
    throw new StageSplitError(
      `stage ${stage} of ${stages} cannot have layers ${first} to ${end} of ${config.numLayers}`,
      { details: { stage, stages, layers } },
    );
  }
  if (limits.maxModelLen > config.maxPositionEmbeddings) {
    throw new ModelConfigError(
      `a model length of ${limits.maxModelLen} exceeds max_position_embeddings ${config.maxPositionEmbeddings}; lower --max-model-len`,
      {
        details: { maxModelLen: limits.maxModelLen, maxPositionEmbeddings: config.maxPositionEmbeddings },
      },
    );
  }
  checkAllUsed(config, tensors);
  const recorder = new ProgramRecorder(tensors);
  MODEL_FAMILIES[config.architecture].record(recorder, config, { index: stage, count: stages, layers });
  const { numKVHeads, headDim } = config;
  return {
    vocabSize: config.vocabSize,
    weights: recorder.weights,
    ops: recorder.ops,
    limits,
    kvCache: { ...kvCache, layers: Array.from({ length: end - first }, () => ({ numKVHeads, headDim })) },
  };
}

/** Records the whole model as one stage: what that leaves over, no stage would load. */
function checkAllUsed(config: ModelConfig, tensors: ReadonlyMap<string, TensorSource>): void {
  const family = MODEL_FAMILIES[config.architecture];
  const whole = new ProgramRecorder(tensors);
  family.record(whole, config, { index: 0, count: 1, layers: [0, config.numLayers] });
  const used = new Set(whole.weights.map((w) => w.name));
  const extra = [...tensors.keys()].filter((name) => !used.has(name) && !family.isUnneeded(name, config));
  if (extra.length > 0) {
    throw new CheckpointError(
      `the checkpoint holds ${extra.length} tensors that ${config.architecture} does not use, first ${extra[0]}; config.json lacks a feature of these weights, or is another model's`,
      { details: { tensors: extra.slice(0, 20) } },
    );
  }
}
