import type { ValueId } from '@skein/native';
import type { Stage } from '../model.ts';
import type { ModelConfig } from '../model-config.ts';
import type { NormOptions, ProgramRecorder } from '../program-recorder.ts';
import { layerBlocks } from '../stage-layers.ts';
import { stagePeer } from '../stage-peer.ts';

const EMBED = 'model.embed_tokens.weight';
const LM_HEAD = 'lm_head.weight';

/** A layer of which a stage has a block. */
export interface LayerPlace {
  /** Index in the model. */
  readonly layer: number;
  /** Prefix of its parameters. */
  readonly name: string;
}

/** A layer of which a stage has the attention. */
export interface AttentionPlace extends LayerPlace {
  /** Index in the stage's KV cache. */
  readonly cacheLayer: number;
}

export interface DecoderOptions {
  readonly config: ModelConfig;
  readonly stage: Stage;
  /** Of the norm before the logits. */
  readonly norm: NormOptions;
  /** What embedded rows are multiplied by. */
  readonly embedScale: number;
  readonly logitSoftCap: number | null;
  /** Each records one block of a layer, its norms included, over the residual stream `x`, and gives the stream behind it.
   *  Nothing else passes from block to block, so a stage may end behind any. */
  readonly attention: (x: ValueId, place: AttentionPlace) => ValueId;
  readonly feedForward: (x: ValueId, place: LayerPlace) => ValueId;
}

/** What all decoders share around their layers: the residual stream enters at the first stage, passes the blocks of each, and
 *  becomes logits on the last. It crosses a stage as the one f32 tensor it is inside. */
export function recordDecoder(r: ProgramRecorder, options: DecoderOptions): void {
  const { config, stage, norm, embedScale: scale, logitSoftCap: softCap } = options;
  const { vocabSize, hiddenSize: width } = config;
  const isFirst = stage.index === 0;
  const isLast = stage.index === stage.count - 1;
  if (isFirst && !isLast) r.recvTokens(stagePeer(stage.count - 1));
  let x = isFirst ? r.embed(EMBED, { vocabSize, width, scale }) : r.recv(stagePeer(stage.index - 1), width);

  let cacheLayer = 0;
  for (const { layer, kind } of layerBlocks(stage.layers)) {
    const place = { layer, name: `model.layers.${layer}` };
    x = r.block(() =>
      kind === 'attention'
        ? options.attention(x, { ...place, cacheLayer: cacheLayer++ })
        : options.feedForward(x, place),
    );
  }

  if (!isLast) {
    r.send(x, stagePeer(stage.index + 1));
    return;
  }
  // Rows are gathered first: the final norm and the logits are worth computing for sampled rows only.
  const last = r.rmsNorm(r.gatherRows(x), 'model.norm.weight', norm);
  const head = config.tieWordEmbeddings
    ? ({ weightName: EMBED, kind: 'embedding' } as const)
    : ({ weightName: LM_HEAD, kind: 'head' } as const);
  r.sample(r.logits(last, { ...head, vocabSize, softCap }));
  if (!isFirst) r.sendTokens(stagePeer(0));
}

/** Tensors that checkpoints of any family may carry and that nothing reads: rotary tables of older ones, and the head of a
 *  model that uses its embedding as one. */
export function isUnneededByDecoder(name: string, config: ModelConfig): boolean {
  return (
    /^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/.test(name) ||
    (config.tieWordEmbeddings && name === LM_HEAD)
  );
}
