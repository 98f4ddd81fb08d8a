import type { KVCacheDtype, ProgramLimits, ProgramSpec, TensorSource } from '@skein/native';
import { checkCheckpoint } from './checkpoint-check.ts';
import { checkpointParameters } from './checkpoint-parameters.ts';
import { ModelConfigError, StageSplitError } from './errors.ts';
import type { ExpertPlacement } from './expert-placement.ts';
import type { Model } from './model.ts';
import { ProgramRecorder } from './program-recorder.ts';
import type { QuantizationOption } from './quantization/quantization-option.ts';
import type { LayerRange } from './stage-layers.ts';
import { rankCacheLayers } from './rank-cache-layers.ts';
import { ALONE, type ReplicaPlace, type TensorPlace, WHOLE } from './tensor-shard.ts';

export interface StageProgramOptions {
  readonly model: Model;
  /** All tensors of the checkpoint, whatever the stage. */
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly quantization?: QuantizationOption;
  readonly stages: number;
  readonly stage: number;
  readonly layers: LayerRange;
  /** Which of the ranks that share the stage's layers; one has them whole where it is left out. */
  readonly tensor?: TensorPlace;
  /** Which of the replicas that share their experts; each has its own where it is left out. */
  readonly expertReplica?: ReplicaPlace;
  /** Where the experts of layers are; in runs, one copy of each, where it is left out. */
  readonly expertPlacements?: readonly ExpertPlacement[];
  readonly limits: ProgramLimits;
  readonly kvCache: { readonly numBlocks: number; readonly blockSize: number; readonly dtype: KVCacheDtype };
  /** Folder of the weight cache; none where it is left out. */
  readonly weightCache?: string | null;
}

/** The program of one rank, with its own weights and no others. Throws CheckpointError when a parameter is missing or has
 *  another shape, or when the checkpoint holds a tensor that no stage uses, and TensorSplitError when there are more ranks than
 *  heads or rows. */
export function buildStageProgram(options: StageProgramOptions): ProgramSpec {
  const {
    model,
    stages,
    stage,
    layers,
    tensor = WHOLE,
    expertReplica = ALONE,
    expertPlacements = [],
    limits,
    kvCache,
    weightCache = null,
  } = options;
  const { config } = model;
  const [first, end] = layers;
  const isRange = Number.isInteger(2 * first) && Number.isInteger(2 * end) && first >= 0 && first < end;
  if (!(stage >= 0 && stage < stages && isRange && end <= config.numLayers)) {
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
  checkCheckpoint(options);
  const recorder = new ProgramRecorder(checkpointParameters(options), tensor, expertReplica, expertPlacements);
  model.record(recorder, { index: stage, count: stages, layers, maxModelLen: limits.maxModelLen });
  return {
    vocabSize: config.vocabSize,
    groups: recorder.groups,
    weights: recorder.weights,
    ops: recorder.ops,
    limits,
    kvCache: { ...kvCache, layers: rankCacheLayers(config, layers, tensor) },
    weightCache: weightCache === null ? null : { dir: weightCache },
  };
}
