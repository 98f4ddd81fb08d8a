import { SkeinError, type SkeinErrorOptions } from '@skein/protocol';

/** A config.json or generation_config.json that cannot be served as it stands. */
export class ModelConfigError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_MODEL_CONFIG', message, options);
  }
}

/** A checkpoint whose files are damaged, incomplete or not those of its config. */
export class CheckpointError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_CHECKPOINT', message, options);
  }
}

/** Files of a checkpoint could not be written; nothing is left behind. */
export class CheckpointWriteError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_CHECKPOINT_WRITE', message, options);
  }
}

/** Layers that cannot be split over the stages as asked. */
export class StageSplitError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_STAGE_SPLIT', message, options);
  }
}

/** Heads or rows that cannot be split over as many ranks. */
export class TensorSplitError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_TENSOR_SPLIT', message, options);
  }
}

/** Copies of experts that the ranks have no room for. */
export class ExpertPlacementError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_EXPERT_PLACEMENT', message, options);
  }
}

/** A file of expert loads that is damaged, or another model's. */
export class ExpertLoadError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_EXPERT_LOAD', message, options);
  }
}

/** No formation of the devices that there are holds the model. */
export class FormationChoiceError extends SkeinError {
  constructor(message: string, options?: SkeinErrorOptions) {
    super('ERR_FORMATION_CHOICE', message, options);
  }
}
