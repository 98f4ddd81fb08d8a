/** Names that config.json may give under `architectures`; each has a family in `model-families.ts`. */
export const KNOWN_ARCHITECTURES = ['LlamaForCausalLM'] as const;

export type Architecture = (typeof KNOWN_ARCHITECTURES)[number];
