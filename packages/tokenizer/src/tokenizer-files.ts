import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { TokenizerError } from './errors.ts';

export interface AddedTokenEntry {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** What this package reads of tokenizer.json; the binding reads the rest. */
export interface TokenizerDefinition {
  readonly added_tokens: readonly AddedTokenEntry[];
  readonly decoder?: unknown;
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly model?: unknown;
}

/** tokenizer_config.json, as far as chats need it. */
export interface TokenizerConfig {
  readonly bos_token: string | null;
  readonly eos_token: string | null;
  readonly chat_template?: string | readonly { readonly name: string; readonly template: string }[] | null | undefined;
}

// Loose objects keep the fields that are only for the binding.
const definitionSchema: z.ZodType<TokenizerDefinition> = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int(), content: z.string(), special: z.boolean() })).default([]),
  decoder: z.unknown(),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  model: z.unknown(),
});

const specialTokenSchema: z.ZodType<string | null> = z
  .union([z.string(), z.looseObject({ content: z.string() })])
  .nullish()
  .transform((t) => (typeof t === 'string' ? t : (t?.content ?? null)));

const configSchema: z.ZodType<TokenizerConfig> = z.looseObject({
  bos_token: specialTokenSchema,
  eos_token: specialTokenSchema,
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

export interface TokenizerFiles {
  readonly definition: TokenizerDefinition;
  /** What `definition` is of. */
  readonly definitionJson: string;
  readonly config: TokenizerConfig;
}

/** Reads tokenizer.json, tokenizer_config.json (may be missing) and chat_template.jinja (wins over the config's template).
 *  @throws TokenizerError ERR_TOKENIZER_FILE naming the file. */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const [definition, config, template] = await Promise.all(
    ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'].map((name) => readIfThere(join(folder, name))),
  );
  if (definition === null || definition === undefined)
    throw new TokenizerError(
      'ERR_TOKENIZER_FILE',
      `${join(folder, 'tokenizer.json')} is missing; give a folder with a whole checkpoint`,
    );
  const parsed = parseConfig(config ?? '{}', join(folder, 'tokenizer_config.json'));
  return {
    definition: parseDefinition(definition, join(folder, 'tokenizer.json')),
    definitionJson: definition,
    config: template ? { ...parsed, chat_template: template } : parsed,
  };
}

/** `file` is what an error calls it. */
export function parseDefinition(json: string, file = 'tokenizer.json'): TokenizerDefinition {
  return parse(file, definitionSchema, json);
}

export function parseConfig(json: string, file = 'tokenizer_config.json'): TokenizerConfig {
  return parse(file, configSchema, json);
}

function parse<T>(file: string, schema: z.ZodType<T>, json: string): T {
  try {
    return schema.parse(JSON.parse(json));
  } catch (cause) {
    throw new TokenizerError(
      'ERR_TOKENIZER_FILE',
      `${file} cannot be used: ${problemOf(cause)}; download the checkpoint again`,
      { cause },
    );
  }
}

/** One line, whatever the cause. */
function problemOf(cause: unknown): string {
  if (cause instanceof z.ZodError) {
    const [issue] = cause.issues;
    return `${issue?.path.join('.') || 'the document'}: ${issue?.message ?? 'not valid'}`;
  }
  return cause instanceof Error ? cause.message : String(cause);
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new TokenizerError('ERR_TOKENIZER_FILE', `${file} cannot be read`, { cause });
  }
}
