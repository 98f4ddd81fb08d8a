import type { ValueId } from '@skein/native';
import type { Model, Stage } from '../model.ts';
import type { ModelConfig } from '../model-config.ts';
import type { ProgramRecorder } from '../program-recorder.ts';
import { type AttentionPlace, isUnneededByDecoder, type LayerPlace, recordDecoder } from './decoder.ts';

/** Records what a block of a layer adds to the stream, over its normalised input. */
export type LayerPart<Place = LayerPlace> = (r: ProgramRecorder, x: ValueId, place: Place) => ValueId;

export interface PreNormParts {
  /** Of a stage: rotary tables may follow from what it serves. */
  readonly attention: (stage: Stage) => LayerPart<AttentionPlace>;
  readonly feedForward: LayerPart;
}

/** Attention and a feed-forward, each behind a norm and added to the stream. */
export function preNormDecoder(
  config: ModelConfig & { readonly rmsNormEps: number },
  { attention, feedForward }: PreNormParts,
): Model {
  const norm = { eps: config.rmsNormEps, weightOffset: 0 };
  return {
    config,
    isUnneeded: (name) => isUnneededByDecoder(name, config),
    record(r, stage) {
      const attend = attention(stage);
      recordDecoder(r, {
        config,
        stage,
        norm,
        embedScale: 1,
        logitSoftCap: null,
        attention: (x, place) => r.add(x, attend(r, r.rmsNorm(x, `${place.name}.input_layernorm.weight`, norm), place)),
        feedForward: (x, place) =>
          r.add(x, feedForward(r, r.rmsNorm(x, `${place.name}.post_attention_layernorm.weight`, norm), place)),
      });
    },
  };
}
