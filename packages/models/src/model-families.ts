import type { Architecture } from './architectures.ts';
import { llama } from './llama.ts';
import type { ModelFamily } from './model-family.ts';

/** A family for every name that `parseModelConfig` lets pass. */
export const MODEL_FAMILIES: Readonly<Record<Architecture, ModelFamily>> = { LlamaForCausalLM: llama };
