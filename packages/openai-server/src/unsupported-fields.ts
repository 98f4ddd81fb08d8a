import { ApiError } from './errors.ts';

type IsNeutral = (value: unknown) => boolean;

/** Fields that would change the answer and that cannot be honoured, with the values that ask for nothing. Refused by name
 *  rather than ignored; fields nobody knows are ignored. */
export const unsupportedFields: Readonly<Record<string, readonly [neutral: string, IsNeutral]>> = {
  tools: ['empty', isEmpty],
  functions: ['empty', isEmpty],
  tool_choice: ['"none", "auto"', (value) => value === 'none' || value === 'auto'],
  function_call: ['"none", "auto"', (value) => value === 'none' || value === 'auto'],
  response_format: ['{"type": "text"}', isTextFormat],
  structured_outputs: ['', never],
  guided_json: ['', never],
  guided_regex: ['', never],
  guided_choice: ['', never],
  guided_grammar: ['', never],
  length_penalty: ['1', (value) => value === 1],
  use_beam_search: ['false', isFalse],
  best_of: ['1', (value) => value === 1],
  suffix: ['""', (value) => value === ''],
  prompt_embeds: ['empty', isEmpty],
  logits_processors: ['empty', isEmpty],
  // A template is a program; one from a client is run by nobody.
  chat_template: ['', never],
  thinking_token_budget: ['', never],
  include_reasoning: ['true', (value) => value === true],
  watermarking: ['false', isFalse],
  mm_processor_kwargs: ['empty', isEmpty],
  media_io_kwargs: ['empty', isEmpty],
  kv_transfer_params: ['empty', isEmpty],
  ec_transfer_params: ['empty', isEmpty],
  vllm_xargs: ['empty', isEmpty],
  audio: ['', never],
  modalities: ['["text"]', (value) => Array.isArray(value) && value.every((item) => item === 'text')],
};

export function refuseUnsupportedFields(body: object): void {
  for (const [field, value] of Object.entries(body)) {
    if (value == null || !Object.hasOwn(unsupportedFields, field) || unsupportedFields[field]?.[1](value) === true)
      continue;
    throw new ApiError(400, 'NotImplementedError', `\`${field}\` is not supported.`, { param: `body.${field}` });
  }
}

function never(): boolean {
  return false;
}

function isFalse(value: unknown): boolean {
  return value === false;
}

function isTextFormat(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'text';
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
