import type { KVCacheDtype, ProgramLimits, ProgramSpec } from '@skein/native';
import { checkpointParameters } from '../checkpoint-parameters.ts';
import { wholeModel } from '../model.ts';
import { type FoundParameter, type Parameter, type ParameterSource, ProgramRecorder } from '../program-recorder.ts';
import { rankCacheLayers } from '../rank-cache-layers.ts';
import { type LayerRange, stageLayers } from '../stage-layers.ts';
import type { TensorPlace } from '../tensor-shard.ts';
import type { PlannedCheckpoint } from './planned-checkpoint.ts';

/** How a model is split; `data` replicas, or with expert parallelism as many attentions over one set of experts. */
export interface Degrees {
  readonly tensor: number;
  readonly pipeline: number;
  readonly data: number;
  readonly isExpertParallel: boolean;
  /** Layers of each stage; null is even. */
  readonly layerPartition: readonly number[] | null;
}

/** What a rank is started with, whatever its place. */
export interface RankLimits {
  readonly limits: ProgramLimits;
  readonly blockSize: number;
  readonly kvDtype: KVCacheDtype;
}

/** The rank of a stage that holds most: the first of those that share its layers. */
export interface RankProgram {
  readonly stage: number;
  readonly spec: ProgramSpec;
  /** Part of the recorded experts that it has; below 1 where the ranks of other groups have the rest. */
  readonly expertShare: number;
}

/** Records ranks of many formations of one checkpoint; what is asked for again is not looked up again. */
export class RankRecorder {
  readonly #checkpoint: PlannedCheckpoint;
  readonly #find: ParameterSource;
  readonly #found = new Map<string, FoundParameter>();

  constructor(checkpoint: PlannedCheckpoint) {
    this.#checkpoint = checkpoint;
    this.#find = checkpointParameters(checkpoint);
  }

  /** One for each stage, with one KV block. Throws StageSplitError, TensorSplitError, ModelConfigError, CheckpointError. */
  ranks(degrees: Degrees, run: RankLimits): RankProgram[] {
    const { tensor: size, pipeline, layerPartition } = degrees;
    const { numLayers } = this.#checkpoint.model.config;
    return stageLayers(numLayers, pipeline, layerPartition).map((layers, stage) => {
      const spec = this.#record({ stage, stages: pipeline, layers, tensor: { rank: 0, size } }, run);
      return { stage, spec, expertShare: expertShare(spec, degrees) };
    });
  }

  /** The whole model as one rank. */
  whole(): ProgramRecorder {
    const { model } = this.#checkpoint;
    const recorder = new ProgramRecorder((parameter) => this.#parameter(parameter));
    model.record(recorder, wholeModel(model, model.config.maxPositionEmbeddings));
    return recorder;
  }

  /** As buildStageProgram does, without holding all tensors against the model each time. */
  #record(
    place: {
      readonly stage: number;
      readonly stages: number;
      readonly layers: LayerRange;
      readonly tensor: TensorPlace;
    },
    { limits, blockSize, kvDtype: dtype }: RankLimits,
  ): ProgramSpec {
    const { model } = this.#checkpoint;
    const { stage: index, stages: count, layers, tensor } = place;
    const recorder = new ProgramRecorder((parameter) => this.#parameter(parameter), tensor);
    model.record(recorder, { index, count, layers, maxModelLen: limits.maxModelLen });
    return {
      vocabSize: model.config.vocabSize,
      groups: recorder.groups,
      weights: recorder.weights,
      ops: recorder.ops,
      limits,
      kvCache: { numBlocks: 1, blockSize, dtype, layers: rankCacheLayers(model.config, layers, tensor) },
      weightCache: null,
    };
  }

  #parameter(parameter: Parameter): FoundParameter {
    const known = this.#found.get(parameter.name);
    if (known !== undefined) return known;
    const found = this.#find(parameter);
    this.#found.set(parameter.name, found);
    return found;
  }
}

/** A rank of a tensor group is recorded with its part of all experts. */
function expertShare({ ops }: ProgramSpec, { tensor, data, isExpertParallel }: Degrees): number {
  const recorded = Math.max(0, ...ops.map((op) => (op.op === 'experts' ? op.experts.length : 0)));
  if (!isExpertParallel || recorded === 0) return 1;
  const all = Math.max(...ops.map((op) => (op.op === 'experts' ? (op.spread?.owners.length ?? op.experts.length) : 0)));
  return Math.ceil(all / (tensor * data)) / recorded;
}
