import { resolve } from 'node:path';
import {
  ConfigError,
  type GroupShape,
  hostCores,
  type NodeOptions,
  parseKVEventsConfig,
  ranksPerAgent,
} from '@skein/agent';
import { variable } from './environment.ts';
import type { Running } from './lifecycle.ts';
import { modelFolder } from './model-folder.ts';
import { VERSION } from './version.ts';

/** What a leader or worker runs with. @throws ConfigError ERR_OPTION. */
export function nodeOptions(
  { resolved, logFormat }: Running,
  of: { readonly shape: GroupShape; readonly groupSize: number },
): NodeOptions {
  const { settings, command } = resolved;
  if (settings.model === null)
    throw new ConfigError('ERR_OPTION', `no model is named; run skein ${command} DIR, or give --model`);
  const model = modelFolder(settings.model, settings.revision);
  return {
    model: model.dir,
    tokenizer: settings.tokenizer ?? model.dir,
    servedModelNames: settings.servedModelName ?? [model.name],
    kvCacheDtype: settings.kvCacheDtype === 'auto' ? settings.dtype : settings.kvCacheDtype,
    quantization: settings.quantization,
    weightCache: settings.weightCache === null ? null : resolve(settings.weightCache),
    chatTemplate: settings.chatTemplate,
    generationConfig: settings.generationConfig,
    seed: settings.seed,
    host: settings.host,
    port: settings.port,
    advertiseUrl: settings.advertiseUrl,
    apiKeys: settings.apiKey ?? [],
    apiKeyGuardsMetrics: settings.apiKeyGuardsMetrics,
    groupKey: variable('groupKey'),
    natsUrl: settings.natsUrl,
    natsPort: settings.natsPort,
    shape: of.shape,
    expertParallel: settings.enableExpertParallel,
    numRedundantExperts: settings.numRedundantExperts,
    expertLoad: settings.expertLoad === null ? null : resolve(settings.expertLoad),
    threads: settings.threads ?? Math.max(1, Math.floor(hostCores() / ranksPerAgent(of.shape, of.groupSize))),
    interfaces: settings.interface,
    maxModelLen: settings.maxModelLen,
    maxLogprobs: settings.maxLogprobs,
    maxNumSeqs: settings.maxNumSeqs,
    maxNumBatchedTokens: settings.maxNumBatchedTokens,
    enablePrefixCaching: settings.enablePrefixCaching,
    schedulingPolicy: settings.schedulingPolicy,
    streamInterval: settings.streamInterval,
    forceIncludeUsage: settings.enableForceIncludeUsage,
    kvEvents: settings.kvEventsConfig === null ? null : parseKVEventsConfig(settings.kvEventsConfig),
    blockSize: settings.blockSize,
    kvCacheBytes: settings.kvCacheMemoryBytes,
    memoryShare: settings.cpuMemoryUtilization,
    numBlocks: settings.numGpuBlocksOverride,
    layerPartition: settings.ppLayerPartition,
    measureStages: settings.ppMeasureStages,
    stepDeadlineMs: settings.stepDeadline * 1000,
    drainMs: settings.drainTimeout * 1000,
    revision: VERSION,
    logLevel: settings.logLevel,
    logFormat,
    logRequests: settings.enableLogRequests,
    logPromptChars: settings.logPrompts ? settings.maxLogLen : null,
    tracesEndpoint: settings.otlpTracesEndpoint,
  };
}
