import { type ModelConfig, parseModel } from '@skein/models';
import type { FormationInput } from '../leader/formation-plan.ts';

/** Five layers, two KV heads 8 wide. */
const { config }: { readonly config: ModelConfig } = parseModel(
  {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 64,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 5,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    max_position_embeddings: 256,
    hidden_act: 'silu',
    tie_word_embeddings: true,
    eos_token_id: 2,
  },
  'config.json',
);

export const formationInput: FormationInput = {
  model: 'm',
  config,
  kvCacheDtype: 'auto',
  kvDtype: 'bf16',
  quantization: 'none',
  weightCache: null,
  shape: { replicas: 1, stages: 1, tensorSize: 1, sharesExperts: false },
  layerPartition: null,
  costsToMeasure: null,
  expertPlacements: [],
  maxModelLen: 128,
  maxNumSeqs: 4,
  maxNumBatchedTokens: 64,
  maxNumRows: 8,
  maxLogprobs: 20,
  blockSize: 16,
  kvCacheBytes: 2 ** 20,
  memoryShare: 0.5,
  othersHere: 0,
  numBlocks: null,
};
