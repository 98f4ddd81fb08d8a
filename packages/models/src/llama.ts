import type { ValueId } from '@skein/native';
import type { ModelConfig } from './model-config.ts';
import type { ModelFamily, Stage } from './model-family.ts';
import type { ProgramRecorder } from './program-recorder.ts';
import { ropeFrequencies, type RopeFrequencies } from './rope-frequencies.ts';
import { stagePeer } from './stage-peer.ts';

const EMBED = 'model.embed_tokens.weight';
const LM_HEAD = 'lm_head.weight';

export const llama: ModelFamily = {
  record: recordLlama,
  isUnneeded: (name, config) =>
    /^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/.test(name) ||
    name === 'model.rotary_emb.inv_freq' ||
    (config.tieWordEmbeddings && name === LM_HEAD),
};

/** The residual stream enters at the first stage, passes its layers on each, and becomes logits on the last. It crosses a
 *  stage as the one f32 tensor it is inside. */
export function recordLlama(r: ProgramRecorder, config: ModelConfig, stage: Stage): void {
  const isFirst = stage.index === 0;
  const isLast = stage.index === stage.count - 1;
  const rope = ropeFrequencies(config.rope, config);

  if (isFirst && !isLast) r.recvTokens(stagePeer(stage.count - 1));
  let x = isFirst
    ? r.embed(EMBED, config.vocabSize, config.hiddenSize)
    : r.recv(stagePeer(stage.index - 1), config.hiddenSize);

  const [first, end] = stage.layers;
  for (let layer = first; layer < end; layer++) {
    const name = `model.layers.${layer}`;
    const attended = recordAttention(r, r.rmsNorm(x, `${name}.input_layernorm.weight`, config.rmsNormEps), {
      config,
      rope,
      name: `${name}.self_attn`,
      cacheLayer: layer - first,
    });
    x = r.add(x, attended);
    x = r.add(
      x,
      recordMlp(r, r.rmsNorm(x, `${name}.post_attention_layernorm.weight`, config.rmsNormEps), {
        config,
        name: `${name}.mlp`,
      }),
    );
  }

  if (!isLast) {
    r.send(x, stagePeer(stage.index + 1));
    return;
  }
  // Rows are gathered first: the final norm and the logits are worth computing for sampled rows only.
  const last = r.rmsNorm(r.gatherRows(x), 'model.norm.weight', config.rmsNormEps);
  r.sample(r.logits(last, config.tieWordEmbeddings ? EMBED : LM_HEAD, config.vocabSize));
  if (!isFirst) r.sendTokens(stagePeer(0));
}

interface AttentionOptions {
  readonly config: ModelConfig;
  readonly rope: RopeFrequencies;
  readonly name: string;
  readonly cacheLayer: number;
}

function recordAttention(
  r: ProgramRecorder,
  x: ValueId,
  { config, rope, name, cacheLayer }: AttentionOptions,
): ValueId {
  const { numHeads, numKVHeads, headDim, attentionBias: bias } = config;
  const q = r.linear(x, `${name}.q_proj`, { width: numHeads * headDim, bias });
  const k = r.linear(x, `${name}.k_proj`, { width: numKVHeads * headDim, bias });
  const v = r.linear(x, `${name}.v_proj`, { width: numKVHeads * headDim, bias });
  const attended = r.attention({
    q: r.rope(q, { numHeads, headDim, rotaryDim: headDim, ...rope }),
    k: r.rope(k, { numHeads: numKVHeads, headDim, rotaryDim: headDim, ...rope }),
    v,
    cacheLayer,
    numHeads,
    numKVHeads,
    headDim,
    scale: headDim ** -0.5,
  });
  return r.linear(attended, `${name}.o_proj`, { width: config.hiddenSize, bias });
}

function recordMlp(
  r: ProgramRecorder,
  x: ValueId,
  { config, name }: { readonly config: ModelConfig; readonly name: string },
): ValueId {
  const { intermediateSize, hiddenSize, mlpBias: bias } = config;
  const gate = r.linear(x, `${name}.gate_proj`, { width: intermediateSize, bias });
  const up = r.linear(x, `${name}.up_proj`, { width: intermediateSize, bias });
  return r.linear(r.siluMul(gate, up), `${name}.down_proj`, { width: hiddenSize, bias });
}
