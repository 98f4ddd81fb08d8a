import { choice, type Flag, integer, list, text, toggle } from './flag.ts';

/** What is served. */
export const modelFlags = {
  model: text('<dir>', {
    group: 'Model',
    doc: 'checkpoint folder, or org/name of a model in the local Hugging Face cache; also the first argument of serve and node',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: 'up: examples/tiny-chat',
  }),
  revision: text('<name>', {
    group: 'Model',
    doc: 'branch, tag or commit of a model given as org/name',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: 'main',
  }),
  tokenizer: text('<dir>', {
    group: 'Model',
    doc: 'folder of tokenizer.json and tokenizer_config.json',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: "the model's",
  }),
  servedModelName: list('<name...>', {
    group: 'Model',
    doc: 'names that the API answers to; the first is shown in answers and metrics',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: "the model folder's name",
  }),
  dtype: choice(['auto', 'float32', 'float16', 'bfloat16'], {
    group: 'Model',
    doc: 'type of the model, which its KV cache has unless --kv-cache-dtype says otherwise; weights stay as they are stored',
    synonyms: { float: 'float32', half: 'float16' },
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: 'auto',
  }),
  maxModelLen: integer(
    { argument: '<tokens>', min: 1 },
    {
      group: 'Model',
      doc: 'longest prompt plus answer',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: null,
      defaultDoc: "the model's",
    },
  ),
  maxLogprobs: integer(
    { argument: '<n>', min: 0 },
    {
      group: 'Model',
      doc: 'most logprobs of a token that a request may ask for',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 20,
      refusal: "vLLM's -1, those of the whole vocabulary, cannot be had",
    },
  ),
  chatTemplate: text('<file>', {
    group: 'Model',
    doc: 'file of a Jinja chat template, or the template itself',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: "the model's",
  }),
  generationConfig: text('<dir>', {
    group: 'Model',
    doc: "sampling defaults: auto takes the model's generation_config.json, vllm takes none, a folder gives its own",
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: 'auto',
  }),
  seed: integer(
    { argument: '<n>', min: 0 },
    {
      group: 'Model',
      doc: 'makes the seeds drawn for requests that bring none repeatable',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: null,
      defaultDoc: 'random',
    },
  ),
  trustRemoteCode: toggle({
    group: 'Model',
    doc: 'taken for compatibility; no code of a checkpoint is ever run',
    commands: ['up', 'serve', 'node'],
    default: false,
  }),
} as const satisfies Readonly<Record<string, Flag<unknown>>>;
