import type { ModelConfig } from './model-config.ts';
import type { ProgramRecorder } from './program-recorder.ts';
import type { LayerRange } from './stage-layers.ts';

/** One stage of a pipeline of `count`; index 0 embeds, index count - 1 samples. */
export interface Stage {
  readonly index: number;
  readonly count: number;
  readonly layers: LayerRange;
  /** Most tokens a sequence will have. */
  readonly maxModelLen: number;
}

/** What a config.json describes: sizes, the operations of each stage, and the tensors that its checkpoints carry and nothing
 *  computes with. */
export interface Model {
  readonly config: ModelConfig;
  /** Writes down the operations of `stage`. Throws CheckpointError when the recorder lacks a parameter. */
  record(recorder: ProgramRecorder, stage: Stage): void;
  /** True for a tensor that inference never reads, such as a buffer that follows from the config. */
  isUnneeded(tensorName: string): boolean;
}

/** Checks the config.json of its architectures. Throws ModelConfigError naming `file` and field when it asks for something
 *  that is not served. */
export type ModelFamily = (document: unknown, file: string) => Model;

/** All layers as one stage. */
export function wholeModel({ config }: Model, maxModelLen: number): Stage {
  return { index: 0, count: 1, layers: [0, config.numLayers], maxModelLen };
}
