import type { ValueId } from '@skein/native';
import type { Stage } from './model.ts';
import type { ModelConfig } from './model-config.ts';
import type { ProgramRecorder } from './program-recorder.ts';
import type { RopeFrequencies } from './rope-frequencies.ts';
import { stagePeer } from './stage-peer.ts';

const EMBED = 'model.embed_tokens.weight';
const LM_HEAD = 'lm_head.weight';

/** A layer of a stage. */
export interface LayerPlace {
  /** Index in the model. */
  readonly layer: number;
  /** Index in the stage's KV cache. */
  readonly cacheLayer: number;
  /** Prefix of its parameters. */
  readonly name: string;
}

export interface DecoderOptions {
  readonly config: ModelConfig & { readonly rmsNormEps: number };
  readonly stage: Stage;
  /** Records one layer over the residual stream `x` and gives the stream behind it. */
  readonly layer: (x: ValueId, place: LayerPlace) => ValueId;
}

/** What all decoders share around their layers: the residual stream enters at the first stage, passes the layers of each, and
 *  becomes logits on the last. It crosses a stage as the one f32 tensor it is inside. */
export function recordDecoder(r: ProgramRecorder, { config, stage, layer: recordLayer }: DecoderOptions): void {
  const isFirst = stage.index === 0;
  const isLast = stage.index === stage.count - 1;
  if (isFirst && !isLast) r.recvTokens(stagePeer(stage.count - 1));
  let x = isFirst
    ? r.embed(EMBED, config.vocabSize, config.hiddenSize)
    : r.recv(stagePeer(stage.index - 1), config.hiddenSize);

  const [first, end] = stage.layers;
  for (let layer = first; layer < end; layer++)
    x = recordLayer(x, { layer, cacheLayer: layer - first, name: `model.layers.${layer}` });

  if (!isLast) {
    r.send(x, stagePeer(stage.index + 1));
    return;
  }
  // Rows are gathered first: the final norm and the logits are worth computing for sampled rows only.
  const last = r.rmsNorm(r.gatherRows(x), 'model.norm.weight', config.rmsNormEps);
  r.sample(r.logits(last, config.tieWordEmbeddings ? EMBED : LM_HEAD, config.vocabSize));
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

export interface AttentionOptions {
  /** Prefix of its parameters. */
  readonly name: string;
  readonly cacheLayer: number;
  readonly numHeads: number;
  readonly numKVHeads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly rope: RopeFrequencies;
  /** Whether the projections have biases. */
  readonly bias: { readonly qkv: boolean; readonly o: boolean };
}

/** Projects x to heads, rotates, attends, and projects back to the width of x. */
export function recordAttention(r: ProgramRecorder, x: ValueId, options: AttentionOptions): ValueId {
  const { name, cacheLayer, numHeads, numKVHeads, headDim, scale, rope, bias } = options;
  const q = r.linear(x, `${name}.q_proj`, { width: numHeads * headDim, bias: bias.qkv });
  const k = r.linear(x, `${name}.k_proj`, { width: numKVHeads * headDim, bias: bias.qkv });
  const v = r.linear(x, `${name}.v_proj`, { width: numKVHeads * headDim, bias: bias.qkv });
  const rotated = { headDim, rotaryDim: headDim, ...rope };
  const attended = r.attention({
    q: r.rope(q, { numHeads, ...rotated }),
    k: r.rope(k, { numHeads: numKVHeads, ...rotated }),
    v,
    cacheLayer,
    numHeads,
    numKVHeads,
    headDim,
    scale,
  });
  return r.linear(attended, `${name}.o_proj`, { width: r.width(x), bias: bias.o });
}

export interface GatedMlpOptions {
  readonly name: string;
  readonly intermediateSize: number;
  readonly bias: boolean;
}

/** down(act(gate(x)) * up(x)). */
export function recordGatedMlp(
  r: ProgramRecorder,
  x: ValueId,
  { name, intermediateSize: width, bias }: GatedMlpOptions,
): ValueId {
  const gate = r.linear(x, `${name}.gate_proj`, { width, bias });
  const up = r.linear(x, `${name}.up_proj`, { width, bias });
  return r.linear(r.siluMul(gate, up), `${name}.down_proj`, { width: r.width(x), bias });
}
