import { ApiError } from './errors.ts';

/** Fields that would change the answer and that cannot be honoured yet, with the values that ask for nothing. Refused by name
 *  rather than ignored; fields nobody knows are ignored. */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  tools: isEmpty,
  functions: isEmpty,
  tool_choice: (value) => value === 'none' || value === 'auto',
  function_call: (value) => value === 'none' || value === 'auto',
  response_format: (value) => typeof value === 'object' && value !== null && 'type' in value && value.type === 'text',
  structured_outputs: never,
  logit_bias: isEmpty,
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  repetition_penalty: (value) => value === 1,
  length_penalty: (value) => value === 1,
  use_beam_search: (value) => value === false,
  best_of: (value) => value === 1,
  min_tokens: (value) => value === 0,
  suffix: (value) => value === '',
  prompt_embeds: isEmpty,
  truncate_prompt_tokens: never,
  allowed_token_ids: isEmpty,
  bad_words: isEmpty,
  logits_processors: isEmpty,
  chat_template: never,
  documents: isEmpty,
  audio: never,
  modalities: (value) => Array.isArray(value) && value.every((item) => item === 'text'),
};

export function refuseUnsupportedFields(body: object): void {
  for (const [field, value] of Object.entries(body)) {
    if (value == null || !Object.hasOwn(unsupported, field) || unsupported[field]?.(value) === true) continue;
    throw new ApiError(400, 'NotImplementedError', `\`${field}\` is not supported yet.`, { param: `body.${field}` });
  }
}

function never(): boolean {
  return false;
}

function isEmpty(value: unknown): boolean {
  return (
    (Array.isArray(value) && value.length === 0) ||
    (typeof value === 'object' && value !== null && Object.keys(value).length === 0)
  );
}
