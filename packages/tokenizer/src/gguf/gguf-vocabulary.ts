import { z } from 'zod';
import { TokenizerError } from '../errors.ts';

const KINDS = ['undefined', 'normal', 'unknown', 'control', 'user-defined', 'unused', 'byte'] as const;
const TOKENS_MAX = 2 ** 22;

const id = z.int().min(0).max(TOKENS_MAX).nullish();

const schema = z.object({
  'tokenizer.ggml.model': z.string(),
  'tokenizer.ggml.pre': z.string().nullish(),
  'tokenizer.ggml.tokens': z.array(z.string()).min(1).max(TOKENS_MAX),
  'tokenizer.ggml.token_type': z.array(z.int()).nullish(),
  'tokenizer.ggml.scores': z.array(z.number()).nullish(),
  'tokenizer.ggml.merges': z.array(z.string()).nullish(),
  'tokenizer.ggml.bos_token_id': id,
  'tokenizer.ggml.eos_token_id': id,
  'tokenizer.ggml.unknown_token_id': id,
  'tokenizer.ggml.add_bos_token': z.boolean().nullish(),
  'tokenizer.ggml.add_eos_token': z.boolean().nullish(),
  'tokenizer.ggml.add_space_prefix': z.boolean().nullish(),
  'tokenizer.chat_template': z.string().nullish(),
  'general.name': z.string().nullish(),
});

/** What a GGUF file says of its tokenizer; null where it is silent. */
export interface GgufVocabulary {
  readonly model: string;
  readonly pre: string | null;
  readonly tokens: readonly string[];
  readonly kindOf: (id: number) => (typeof KINDS)[number];
  readonly scores: readonly number[] | null;
  readonly merges: readonly string[] | null;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly unknownId: number | null;
  readonly addBos: boolean | null;
  readonly addEos: boolean | null;
  readonly addSpacePrefix: boolean | null;
  readonly chatTemplate: string | null;
  readonly modelName: string;
}

/** @throws TokenizerError ERR_TOKENIZER_FILE naming file and key. */
export function parseGgufVocabulary(metadata: ReadonlyMap<string, unknown>, file: string): GgufVocabulary {
  const result = schema.safeParse(Object.fromEntries(metadata));
  if (!result.success) {
    const [issue] = result.error.issues;
    throw brokenVocabulary(file, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`);
  }
  const { data } = result;
  const tokens = data['tokenizer.ggml.tokens'];
  const types = data['tokenizer.ggml.token_type'] ?? null;
  const scores = data['tokenizer.ggml.scores'] ?? null;
  for (const [key, list] of Object.entries({ token_type: types, scores }))
    if (list !== null && list.length !== tokens.length)
      throw brokenVocabulary(file, `tokenizer.ggml.${key} has ${list.length} entries for ${tokens.length} tokens`);
  const idOf = (key: 'bos' | 'eos' | 'unknown'): number | null => {
    const found = data[`tokenizer.ggml.${key}_token_id`] ?? null;
    if (found === null || found < tokens.length) return found;
    throw brokenVocabulary(file, `tokenizer.ggml.${key}_token_id is ${found}, and there are ${tokens.length} tokens`);
  };
  return {
    model: data['tokenizer.ggml.model'],
    pre: data['tokenizer.ggml.pre'] ?? null,
    tokens,
    kindOf: (token) => KINDS[types?.[token] ?? 1] ?? 'undefined',
    scores,
    merges: data['tokenizer.ggml.merges'] ?? null,
    bosId: idOf('bos'),
    eosId: idOf('eos'),
    unknownId: idOf('unknown'),
    addBos: data['tokenizer.ggml.add_bos_token'] ?? null,
    addEos: data['tokenizer.ggml.add_eos_token'] ?? null,
    addSpacePrefix: data['tokenizer.ggml.add_space_prefix'] ?? null,
    chatTemplate: data['tokenizer.chat_template'] ?? null,
    modelName: data['general.name'] ?? '',
  };
}

export function brokenVocabulary(file: string, why: string): TokenizerError {
  return new TokenizerError(
    'ERR_TOKENIZER_FILE',
    `${file}: its tokenizer cannot be used: ${why}; give a folder with tokenizer.json as --tokenizer`,
  );
}
