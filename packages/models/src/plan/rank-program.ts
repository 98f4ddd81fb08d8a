import type { KVCacheDtype, ProgramLimits, ProgramSpec } from '@skein/native';
import { checkpointParameters } from '../checkpoint-parameters.ts';
import { type ExpertPlacement, type Mixture, mixturesOf, placeMixtures, redundantMax } from '../expert-placement.ts';
import { wholeModel } from '../model.ts';
import { type FoundParameter, type Parameter, type ParameterSource, ProgramRecorder } from '../program-recorder.ts';
import { rankCacheLayers } from '../rank-cache-layers.ts';
import { type LayerRange, stageLayers } from '../stage-layers.ts';
import type { ReplicaPlace, TensorPlace } from '../tensor-shard.ts';
import type { PlannedCheckpoint } from './planned-checkpoint.ts';

/** How a model is split; `data` replicas, or with expert parallelism as many attentions over one set of experts. */
export interface Degrees {
  readonly tensor: number;
  readonly pipeline: number;
  readonly data: number;
  readonly isExpertParallel: boolean;
  /** Layers of each stage, in halves; null is even. */
  readonly layerPartition: readonly number[] | null;
}

/** What a rank is started with, whatever its place. */
export interface RankLimits {
  readonly limits: ProgramLimits;
  readonly blockSize: number;
  readonly kvDtype: KVCacheDtype;
  /** Copies of experts in each layer beyond one of each. */
  readonly redundantExperts: number;
}

/** The rank of a stage that holds most: the first of those that share its layers. */
export interface RankProgram {
  readonly stage: number;
  readonly spec: ProgramSpec;
}

/** Replicas that share their experts. */
export function expertReplicas({ data, isExpertParallel }: Degrees): number {
  return isExpertParallel ? data : 1;
}

/** Ranks that share the experts of a layer. */
export function expertRanks(degrees: Degrees): number {
  return degrees.tensor * expertReplicas(degrees);
}

/** Records ranks of many formations of one checkpoint; what is asked for again is not looked up again. */
export class RankRecorder {
  readonly #checkpoint: PlannedCheckpoint;
  readonly #find: ParameterSource;
  readonly #found = new Map<string, FoundParameter>();
  #mixtures: readonly Mixture[] | null = null;

  constructor(checkpoint: PlannedCheckpoint) {
    this.#checkpoint = checkpoint;
    this.#find = checkpointParameters(checkpoint);
  }

  /** One for each stage, with one KV block. Copies of experts that have no room are left out. Throws StageSplitError,
   *  TensorSplitError, ModelConfigError, CheckpointError. */
  ranks(degrees: Degrees, run: RankLimits): RankProgram[] {
    const { tensor: size, pipeline, layerPartition } = degrees;
    const { numLayers } = this.#checkpoint.model.config;
    const placements = this.#placements(expertRanks(degrees), run.redundantExperts);
    return stageLayers(numLayers, pipeline, layerPartition).map((layers, stage) => {
      const replica = { index: 0, count: expertReplicas(degrees) };
      const place = { stage, stages: pipeline, layers, tensor: { rank: 0, size }, replica };
      return { stage, spec: this.#record({ ...place, placements }, run) };
    });
  }

  /** The whole model as one rank. */
  whole(): ProgramRecorder {
    const { model } = this.#checkpoint;
    const recorder = new ProgramRecorder((parameter) => this.#parameter(parameter));
    model.record(recorder, wholeModel(model, model.config.maxPositionEmbeddings));
    return recorder;
  }

  #placements(ranks: number, wanted: number): ExpertPlacement[] {
    if (wanted === 0) return [];
    this.#mixtures ??= mixturesOf(this.whole().ops);
    return this.#mixtures.flatMap((mixture) => {
      const redundant = Math.min(wanted, redundantMax(mixture.numExperts, ranks));
      return placeMixtures([mixture], { ranks, redundant, loads: null });
    });
  }

  /** As buildStageProgram does, without holding all tensors against the model each time. */
  #record(
    place: {
      readonly stage: number;
      readonly stages: number;
      readonly layers: LayerRange;
      readonly tensor: TensorPlace;
      readonly replica: ReplicaPlace;
      readonly placements: readonly ExpertPlacement[];
    },
    { limits, blockSize, kvDtype: dtype }: RankLimits,
  ): ProgramSpec {
    const { model } = this.#checkpoint;
    const { stage: index, stages: count, layers, tensor, replica, placements } = place;
    const recorder = new ProgramRecorder((parameter) => this.#parameter(parameter), tensor, replica, placements);
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
