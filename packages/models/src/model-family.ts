import type { ModelConfig } from './model-config.ts';
import type { ProgramRecorder } from './program-recorder.ts';
import type { LayerRange } from './stage-layers.ts';

/** One stage of a pipeline of `count`; index 0 embeds, index count - 1 samples. */
export interface Stage {
  readonly index: number;
  readonly count: number;
  readonly layers: LayerRange;
}

/** An architecture: how to record it, and which tensors its checkpoints carry that it computes itself or never reads. */
export interface ModelFamily {
  record(recorder: ProgramRecorder, config: ModelConfig, stage: Stage): void;
  isUnneeded(tensorName: string, config: ModelConfig): boolean;
}
