import { KV_CACHE_DTYPE_OPTIONS } from '@skein/models';
import { alwaysOn, choice, type Flag, integer, layerCounts, real, text, toggle } from './flag.ts';

/** The KV cache, the scheduler and how the model is split. */
export const engineFlags = {
  blockSize: integer(
    { argument: '<tokens>', min: 1, max: 1024 },
    {
      group: 'KV cache',
      doc: 'tokens in a KV block',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 16,
    },
  ),
  kvCacheDtype: choice(KV_CACHE_DTYPE_OPTIONS, {
    group: 'KV cache',
    doc: 'type of the KV cache; auto takes that of --dtype; fp8 (e4m3) and int8 keep a scale for each token and KV head, and need about half the memory of bfloat16',
    synonyms: { f32: 'float32', f16: 'float16', half: 'float16', bf16: 'bfloat16', fp8_e4m3: 'fp8' },
    commands: ['up', 'serve', 'node', 'plan'],
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
      commands: ['up', 'serve', 'node', 'plan'],
      default: 0.5,
    },
  ),
  gpuMemoryUtilization: real(
    { argument: '<share>', above: 0, max: 1 },
    {
      group: 'KV cache',
      doc: 'the same for ranks on a GPU; without effect on others',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 0.92,
    },
  ),
  numGpuBlocksOverride: integer(
    { argument: '<n>', min: 1 },
    {
      group: 'KV cache',
      doc: 'KV blocks of each rank, whatever the bytes',
      commands: ['up', 'serve', 'node', 'plan'],
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
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 128,
    },
  ),
  maxNumBatchedTokens: integer(
    { argument: '<tokens>', min: 1 },
    {
      group: 'Scheduler',
      doc: 'most tokens in one step; at least --max-num-seqs',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 2048,
    },
  ),
  enableChunkedPrefill: alwaysOn({
    group: 'Scheduler',
    doc: 'compute a long prompt in several steps, beside the answers that run; taken for compatibility',
    commands: ['up', 'serve', 'node'],
    refusal: 'a prompt that is longer than a step has no other way',
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
  streamInterval: integer(
    { argument: '<tokens>', min: 1, max: 2 ** 31 - 1 },
    {
      group: 'Scheduler',
      doc: 'tokens that a streamed event waits for, where the request has no stream_interval; the first and the last wait for none',
      commands: ['up', 'serve', 'node'],
      upPassesTo: ['node'],
      default: 1,
    },
  ),
  pipelineParallelSize: integer(
    { argument: '<n>', min: 1, max: 64 },
    {
      group: 'Parallel',
      doc: 'pipeline stages of the model: runs of layers, each on ranks of its own',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: null,
      defaultDoc: 'up: 2, serve: 1, node: pods of a replica',
      aliases: ['-pp', '--pp'],
    },
  ),
  tensorParallelSize: integer(
    { argument: '<n>', min: 1, max: 64 },
    {
      group: 'Parallel',
      doc: 'ranks that share each layer',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 1,
      aliases: ['-tp', '--tp'],
    },
  ),
  dataParallelSize: integer(
    { argument: '<n>', min: 1, max: 64 },
    {
      group: 'Parallel',
      doc: 'replicas of the model behind one leader, which gives a request to the least loaded, or to the one that X-data-parallel-rank names',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 1,
      aliases: ['-dp', '--dp'],
    },
  ),
  enableExpertParallel: toggle({
    group: 'Parallel',
    doc: 'spread the experts of a mixture over the ranks of all replicas, which then compute their steps together; without it each replica has all of them, spread over its own ranks',
    commands: ['up', 'serve', 'node', 'plan'],
    upPassesTo: ['node'],
    default: false,
  }),
  numRedundantExperts: integer(
    { argument: '<n>', min: 0, max: 65536 },
    {
      group: 'Parallel',
      doc: 'copies of experts in each layer of a mixture beyond one of each, on other ranks: those with most to do have several, which share their tokens',
      commands: ['up', 'serve', 'node', 'plan'],
      upPassesTo: ['node'],
      default: 0,
    },
  ),
  expertLoad: text('<file>', {
    group: 'Parallel',
    doc: 'how much each expert has to do, as GET /v1/skein/experts answered: experts are placed, and copied, by it; without it in runs',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: null,
  }),
  groups: integer(
    { argument: '<n>', min: 1, max: 64 },
    {
      group: 'Parallel',
      doc: 'groups, each with a leader of its own, behind one router',
      commands: ['up'],
      default: 1,
    },
  ),
  ppLayerPartition: layerCounts('<counts>', {
    group: 'Parallel',
    doc: 'layers of each stage, such as 3,5 or 10.5,5.5, where a half is the attention of a layer and its feed-forward is on the next stage; without it the split whose slowest stage reads least for a token, the head of the last stage included',
    commands: ['up', 'serve', 'node', 'plan'],
    upPassesTo: ['node'],
    default: null,
    defaultDoc: 'balanced',
    variables: [{ key: 'layerPartition' }],
  }),
  ppMeasureStages: toggle({
    group: 'Parallel',
    doc: 'time the stages once they are loaded, and load them again with other layers where the slowest so gains 5 % or more: for hosts that are not alike; the log says which layers; give these as --pp-layer-partition instead to keep them, which also spares the second load and its files in --weight-cache',
    commands: ['up', 'serve', 'node'],
    upPassesTo: ['node'],
    default: false,
  }),
  threads: integer(
    { argument: '<n>', min: 1, max: 4096 },
    {
      group: 'Parallel',
      doc: 'compute threads of each rank',
      commands: ['up', 'serve', 'node', 'plan'],
      default: null,
      defaultDoc: 'cores that the affinity and the quota grant; up: cores over ranks',
    },
  ),
} as const satisfies Readonly<Record<string, Flag<unknown>>>;
