/** What tokenizer.json says and a GGUF file implies; the fields are those of tokenizer.json. */
export interface TokenizerParts {
  readonly vocab: ReadonlyMap<string, number>;
  /** In the order in which they apply. */
  readonly merges: readonly (readonly [string, string])[];
  readonly model: {
    readonly ignore_merges: boolean;
    readonly byte_fallback: boolean;
    readonly fuse_unk: boolean;
    readonly unk_token: string | null;
  };
  readonly normalizer: unknown;
  readonly preTokenizer: unknown;
  readonly decoder: unknown;
  /** Whether a text begins with BOS. */
  readonly addBos: boolean;
}
