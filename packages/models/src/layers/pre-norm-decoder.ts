import type { ValueId } from '@skein/native';
import type { Model, Stage } from '../model.ts';
import type { ModelConfig } from '../model-config.ts';
import type { ProgramRecorder } from '../program-recorder.ts';
import { isUnneededByDecoder, type LayerPlace, recordDecoder } from './decoder.ts';

/** Records one half of a layer over its normalised input. */
export type LayerPart = (r: ProgramRecorder, x: ValueId, place: LayerPlace) => ValueId;

export interface PreNormParts {
  /** Of a stage: rotary tables may follow from what it serves. */
  readonly attention: (stage: Stage) => LayerPart;
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
        layer(x, place) {
          const y = r.add(x, attend(r, r.rmsNorm(x, `${place.name}.input_layernorm.weight`, norm), place));
          const normed = r.rmsNorm(y, `${place.name}.post_attention_layernorm.weight`, norm);
          return r.add(y, feedForward(r, normed, place));
        },
      });
    },
  };
}
