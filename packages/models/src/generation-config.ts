import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ModelConfigError } from './errors.ts';
import { parseFields, readJsonFile } from './json-file.ts';
import { idList, tokenIds } from './model-config.ts';

/** Defaults a checkpoint brings for requests that name none; null where it is silent. */
export interface GenerationConfig {
  /** Empty when the file names none: then config.json's hold. */
  readonly eosTokenIds: readonly number[];
  readonly temperature: number | null;
  readonly topK: number | null;
  readonly topP: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly maxNewTokens: number | null;
}

const schema = z.object({
  eos_token_id: tokenIds,
  temperature: z.number().min(0).max(100).nullish(),
  top_k: z
    .int()
    .min(-1)
    .max(2 ** 22)
    .nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(100).nullish(),
  max_new_tokens: z.int().min(1).nullish(),
});

/** Null when the checkpoint has no generation_config.json. */
export async function readGenerationConfig(dir: string): Promise<GenerationConfig | null> {
  const file = join(dir, 'generation_config.json');
  const present = await access(file).then(
    () => true,
    () => false,
  );
  return present ? parseGenerationConfig(await readJsonFile(file, ModelConfigError), file) : null;
}

export function parseGenerationConfig(document: unknown, file: string): GenerationConfig {
  const fields = parseFields(schema, document, { file, ErrorClass: ModelConfigError });
  return {
    eosTokenIds: idList(fields.eos_token_id),
    temperature: fields.temperature ?? null,
    topK: fields.top_k == null ? null : Math.max(fields.top_k, 0),
    topP: fields.top_p ?? null,
    minP: fields.min_p ?? null,
    repetitionPenalty: fields.repetition_penalty ?? null,
    maxNewTokens: fields.max_new_tokens ?? null,
  };
}
