import { logFormats, logLevels } from '@skein/telemetry';
import { alwaysOn, choice, counts, type Flag, integer, list, real, text, toggle, url } from './flag.ts';

/** Every flag of the processes, in the order of --help. Names are vLLM's where vLLM has one. The command line, the config file,
 *  `skein config`, docs/flags.md and what `skein up` passes on all come from here. */
export const flags = {
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
  blockSize: integer(
    { argument: '<tokens>', min: 1, max: 1024 },
    {
      group: 'KV cache',
      doc: 'tokens in a KV block',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 16,
    },
  ),
  kvCacheDtype: choice(['auto', 'float32', 'float16', 'bfloat16'], {
    group: 'KV cache',
    doc: 'type of the KV cache; auto takes that of --dtype',
    synonyms: { f32: 'float32', f16: 'float16', half: 'float16', bf16: 'bfloat16' },
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: 'auto',
  }),
  kvCacheMemoryBytes: integer(
    { argument: '<bytes>', min: 1 },
    {
      group: 'KV cache',
      doc: 'KV cache of each rank, instead of a share of the memory',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: null,
      defaultDoc: 'a share, see --cpu-memory-utilization',
    },
  ),
  cpuMemoryUtilization: real(
    { argument: '<share>', above: 0, max: 1 },
    {
      group: 'KV cache',
      doc: 'KV cache of the CPU ranks of a host: share of the memory left once the weights are loaded, which is measured; up gives each group an equal part',
      commands: ['up', 'serve', 'node'],
      default: 0.5,
    },
  ),
  gpuMemoryUtilization: real(
    { argument: '<share>', above: 0, max: 1 },
    {
      group: 'KV cache',
      doc: 'the same for ranks on a GPU; without effect on others',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 0.92,
    },
  ),
  numGpuBlocksOverride: integer(
    { argument: '<n>', min: 1 },
    {
      group: 'KV cache',
      doc: 'KV blocks of each rank, whatever the bytes',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: null,
      defaultDoc: 'as many as fit',
    },
  ),
  enablePrefixCaching: toggle({
    group: 'KV cache',
    doc: 'reuse the KV blocks of equal prefixes of one client',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: true,
  }),
  kvEventsConfig: text('<json>', {
    group: 'KV cache',
    doc: 'publish what the prefix cache holds over ZMQ in the form of vLLM, which has the keys: endpoint, replay_endpoint, buffer_steps, hwm, topic',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: 'on the bus alone',
  }),
  maxNumSeqs: integer(
    { argument: '<n>', min: 1 },
    {
      group: 'Scheduler',
      doc: 'most requests computed at once',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 128,
    },
  ),
  maxNumBatchedTokens: integer(
    { argument: '<tokens>', min: 1 },
    {
      group: 'Scheduler',
      doc: 'most tokens in one step; at least --max-num-seqs',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 2048,
    },
  ),
  enableChunkedPrefill: alwaysOn({
    group: 'Scheduler',
    doc: 'compute a long prompt in several steps, beside the answers that run; taken for compatibility',
    commands: ['up', 'serve', 'node'],
  }),
  enforceEager: toggle({
    group: 'Scheduler',
    doc: 'taken for compatibility; a step is one call into recorded operations either way',
    commands: ['up', 'serve', 'node'],
    default: false,
  }),
  schedulingPolicy: choice(['fcfs', 'priority'], {
    group: 'Scheduler',
    doc: "order of requests: as they came, or by each request's priority (lower first)",
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: 'fcfs',
  }),
  pipelineParallelSize: integer(
    { argument: '<n>', min: 1, max: 64 },
    {
      group: 'Parallel',
      doc: 'pipeline stages of each group; serve with more than 1 does what up does; node takes it from LWS_GROUP_SIZE, and refuses another',
      commands: ['up', 'serve', 'node'],
      default: null,
      defaultDoc: 'up: 2, serve: 1',
      aliases: ['-pp', '--pp'],
    },
  ),
  tensorParallelSize: integer(
    { argument: '<n>', min: 1, max: 1 },
    {
      group: 'Parallel',
      doc: 'ranks that share each layer; only 1',
      commands: ['up', 'serve', 'node'],
      default: 1,
      aliases: ['-tp', '--tp'],
    },
  ),
  dataParallelSize: integer(
    { argument: '<n>', min: 1, max: 64 },
    {
      group: 'Parallel',
      doc: 'groups, each with the whole model',
      commands: ['up', 'serve'],
      default: 1,
      aliases: ['-dp', '--dp', '--groups'],
    },
  ),
  ppLayerPartition: counts('<counts>', {
    group: 'Parallel',
    doc: 'layers of each stage, such as 3,5',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: 'even',
    variables: [{ key: 'layerPartition' }],
  }),
  threads: integer(
    { argument: '<n>', min: 1, max: 4096 },
    {
      group: 'Parallel',
      doc: 'compute threads of each rank',
      commands: ['up', 'serve', 'node'],
      default: null,
      defaultDoc: 'cores; up: cores over ranks',
    },
  ),
  host: text('<address>', {
    group: 'API',
    doc: 'where the OpenAI server listens',
    commands: ['up', 'serve', 'node', 'router'],
    upPassesTo: ['router'],
    default: '127.0.0.1',
  }),
  port: integer(
    { argument: '<port>', min: 0, max: 65535 },
    {
      group: 'API',
      doc: 'port to listen on; 0 takes any free one (not for up)',
      commands: ['up', 'serve', 'node', 'router'],
      upPassesTo: ['router'],
      default: 8000,
    },
  ),
  apiKey: list('<key...>', {
    group: 'API',
    doc: 'keys of which requests under /v1 must bring one; commas may separate several',
    separator: ',',
    commands: ['up', 'serve', 'node', 'router'],
    upPassesTo: ['node', 'router'],
    default: null,
    defaultDoc: 'none',
    variables: [{ key: 'apiKey' }],
    isSecret: true,
  }),
  apiKeyGuardsMetrics: toggle({
    group: 'API',
    doc: 'ask for the key at /metrics too',
    commands: ['up', 'serve', 'node', 'router'],
    upPassesTo: ['node', 'router'],
    default: false,
  }),
  drainTimeout: integer(
    { argument: '<seconds>', min: 0, max: 86_400 },
    {
      group: 'API',
      doc: 'how long SIGTERM lets running streams go on',
      commands: ['up', 'serve', 'node', 'router'],
      upPassesTo: ['node', 'router'],
      default: 30,
      aliases: ['--shutdown-timeout'],
    },
  ),
  natsUrl: text('<url>', {
    group: 'Mesh',
    doc: 'broker, as nats://host:port; commas separate several',
    commands: ['node', 'router'],
    default: null,
    defaultDoc: 'node: the leader starts one; router: nats://127.0.0.1:4222',
    variables: [{ key: 'natsUrl' }],
    isSecret: true,
  }),
  natsPort: integer(
    { argument: '<port>', min: 0, max: 65535 },
    { group: 'Mesh', doc: "port of the leader's own broker", commands: ['node'], default: 4222 },
  ),
  advertiseUrl: text('<url>', {
    group: 'Mesh',
    doc: 'how routers reach this leader',
    commands: ['node'],
    default: null,
    defaultDoc: "the leader's address and port",
  }),
  stepDeadline: integer(
    { argument: '<seconds>', min: 1, max: 86_400 },
    {
      group: 'Mesh',
      doc: 'a rank that waits longer for another gives up the step',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 30,
    },
  ),
  logLevel: choice(logLevels, {
    group: 'Observability',
    doc: 'how much to log',
    commands: ['up', 'serve', 'node', 'router', 'make-checkpoint'],
    upPassesTo: ['node', 'router'],
    default: 'info',
    variables: [{ key: 'logLevel' }],
  }),
  logFormat: choice(logFormats, {
    group: 'Observability',
    doc: 'lines for programs or for people',
    commands: ['up', 'serve', 'node', 'router', 'make-checkpoint'],
    upPassesTo: ['node', 'router'],
    default: null,
    defaultDoc: 'text at a terminal, else json',
    variables: [{ key: 'logFormat' }],
  }),
  enableLogRequests: toggle({
    group: 'Observability',
    doc: 'a line for each request; without it they are logged at debug',
    commands: ['up', 'serve', 'node', 'router'],
    upPassesTo: ['node', 'router'],
    default: true,
    offAliases: ['--disable-log-requests'],
  }),
  logPrompts: toggle({
    group: 'Observability',
    doc: 'log the text of each prompt; without it none is ever logged',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: false,
  }),
  maxLogLen: integer(
    { argument: '<chars>', min: 1, max: 1_000_000 },
    {
      group: 'Observability',
      doc: 'most characters of a logged prompt',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 4096,
    },
  ),
  otlpTracesEndpoint: url({
    group: 'Observability',
    doc: 'OTLP/HTTP endpoint that takes the traces, such as http://127.0.0.1:4318/v1/traces',
    commands: ['up', 'serve', 'node', 'router'],
    upPassesTo: ['node', 'router'],
    default: null,
    defaultDoc: 'no traces',
    variables: [
      { key: 'otlpTracesEndpoint' },
      { key: 'otlpEndpoint', map: (base) => `${base.replace(/\/$/, '')}/v1/traces` },
    ],
  }),
} as const satisfies Readonly<Record<string, Flag<unknown>>>;

export type FlagKey = keyof typeof flags;

/** What every flag came to; flags that the command does not take have their default. */
export type Settings = {
  readonly [K in FlagKey]: (typeof flags)[K] extends Flag<infer T> ? T : never;
};

export const flagKeys = Object.keys(flags) as readonly FlagKey[];

/** maxModelLen is max-model-len. */
export function flagName(key: FlagKey): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
