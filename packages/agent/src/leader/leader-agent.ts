import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Engine, type EngineConfig, engineConfig } from '@skein/engine';
import { type MessageBus, startLocalHub } from '@skein/message-bus';
import { stageLayers } from '@skein/models';
import { createOpenAIServer } from '@skein/openai-server';
import { type Identity, type LeaderAdvert, newIdentity, subjects } from '@skein/protocol';
import { type Logger, Metrics, Tracing, VllmMetrics } from '@skein/telemetry';
import { busWarnings, natsBus } from '../bus.ts';
import { interfaceTowards, isLoopback, resolveLeader } from '../host.ts';
import { type AgentAdvert, LEASE_TTL_MS } from '../leases.ts';
import { listen } from '../listen.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { NodeOptions } from '../node-options.ts';
import { RankSupervisor } from '../rank/rank-supervisor.ts';
import { untilAbort } from '../until-aborted.ts';
import { Broker } from './broker.ts';
import { Canary } from './canary.ts';
import { Formation } from './formation.ts';
import type { FormationInput } from './formation-plan.ts';
import { GroupMetrics } from './group-metrics.ts';
import { serveKVEvents } from './kv-events.ts';
import { logprobsLimit } from './logprobs-limit.ts';
import { isLargeTokenizer, readCodec, readServedModel, type ServedModelFiles } from './served-model.ts';
import { repeatableSeeds } from './repeatable-seeds.ts';
import { observeEngine } from './observe-engine.ts';
import { RequestSpans } from './request-spans.ts';
import { groupTopology } from './topology.ts';

const ADVERT_MS = 200;
/** How long the reading of a large vocabulary waits for ranks to load. */
const LOADING_MS_MAX = 2000;

/** The leader of a group: the broker where none is given, the direct link, its own rank, the formation, the engine and the
 *  OpenAI server. Runs until `signal`, then drains. With a group of one and `brokerless` there is the local bus alone. */
export async function runLeaderAgent(
  place: GroupPlace,
  options: NodeOptions & { readonly brokerless: boolean },
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { group, groupSize } = place;
  // Weights that cannot be served, and a split that cannot be, are mistakes of the configuration: said before anyone joins.
  const model = await readServedModel(options);
  stageLayers(model.config.numLayers, groupSize, options.layerPartition);
  const { numTensors: tensors, numUnneededTensors: unneededTensors, quantization } = model;
  const { architecture } = model.config;
  logger.info({ model: model.names[0], architecture, quantization, tensors, unneededTensors }, 'read the model');
  const address =
    groupSize === 1 && options.brokerless ? '127.0.0.1' : await resolveLeader(place.leaderAddress, { logger, signal });
  const bindHost = isLoopback(address) ? address : address.includes(':') ? '::' : '0.0.0.0';
  const identity = newIdentity(group);
  await using stack = new AsyncDisposableStack();

  const hub = await startLocalHub({
    listen: { host: bindHost, port: 0 },
    groupKey: options.groupKey,
    onWarning: busWarnings(logger),
  });
  stack.defer(() => hub.close());
  const directAddress = { host: address, port: hub.address && 'port' in hub.address ? hub.address.port : 0 };
  const direct = hub.connect(identity);
  const natsUrl = options.brokerless ? null : await brokerUrl(address, bindHost, options, logger, stack);
  const main =
    natsUrl === null ? direct : await natsBus(natsUrl, { identity, groupKey: options.groupKey, logger, signal });
  if (main !== direct) stack.defer(() => main.close());
  // Started first: its process comes up beside all that follows.
  const supervisor = superviseOwnRank({
    place,
    options,
    identity,
    main,
    directAddress,
    natsUrl,
    logger,
    interfaceName: await interfaceTowards(address),
  });
  stack.defer(() => supervisor.close());

  const metrics = new Metrics({ maxModelLen: model.maxModelLen });
  const modelName = model.names[0] ?? '';
  const vllmMetrics = new VllmMetrics(metrics, { modelName });
  const tracing =
    options.tracesEndpoint === null
      ? null
      : await Tracing.start({ endpoint: options.tracesEndpoint, serviceName: 'skein-leader', instanceId: group });
  if (tracing) stack.use(tracing);
  const spans = tracing && new RequestSpans(tracing);
  const config = engineConfig({
    maxNumSeqs: options.maxNumSeqs,
    maxNumBatchedTokens: Math.max(options.maxNumBatchedTokens, options.maxNumSeqs),
    enablePrefixCaching: options.enablePrefixCaching,
    schedulingPolicy: options.schedulingPolicy,
  });
  const maxLogprobs = logprobsLimit({
    maxLogprobs: options.maxLogprobs,
    vocabSize: model.config.vocabSize,
    maxNumRows: config.maxNumRows,
    maxPayloadBytes: direct.maxPayloadBytes,
  });
  const engine = new Engine(config, {
    observer: {
      ...observeEngine({ metrics: vllmMetrics, canaryRunning: () => canary.running, spans, logger }),
      onKVCacheEvents: (events) => kvEvents.push(events),
    },
  });
  stack.defer(() => engine.close());
  const kvEvents = await serveKVEvents({ engine, bus: main, group, zmq: options.kvEvents, logger });
  stack.use(kvEvents);
  const canary = new Canary(engine);
  stack.defer(() => canary.close());
  const formation = new Formation({
    main,
    direct,
    directAddress,
    group,
    groupSize,
    stepDeadlineMs: options.stepDeadlineMs,
    input: formationInput(model, options, { ...config, maxLogprobs }),
    engine,
    logger,
    onFormed: () => void canary.beat(),
  });

  const groupMetrics = new GroupMetrics(metrics, formation);

  const stopping = new AbortController();
  const forming = formation.run(stopping.signal);
  // Awaited below; until then a rejection is nobody's.
  forming.catch(() => {});
  stack.defer(async () => {
    stopping.abort();
    await forming.catch(() => {});
  });

  // While this thread reads a large vocabulary no rank can be told what to load: that goes first, if ranks come soon.
  if (isLargeTokenizer(options))
    await Promise.race([formation.loading, forming, delay(LOADING_MS_MAX, undefined, { signal })]);
  const codec = await readCodec(options);
  const warnings =
    groupSize > 1 && options.groupKey === null && !isLoopback(address)
      ? ['no SKEIN_GROUP_KEY: whoever reaches this network can join the group']
      : [];
  for (const warning of warnings) logger.warn(warning);
  const isReady = (): { ready: boolean; reason: string } => {
    const { state, detail } = formation.current;
    const problem = state === 'ready' ? canary.problem() : `the group is ${state}${detail === '' ? '' : `: ${detail}`}`;
    return { ready: problem === null, reason: problem ?? '' };
  };
  let url = '';
  const server = createOpenAIServer({
    engine: spans?.over(engine) ?? engine,
    tracing,
    codec,
    model: {
      names: model.names,
      maxModelLen: model.maxModelLen,
      eosTokenIds: model.eosTokenIds,
      vocabSize: model.config.vocabSize,
    },
    ...(model.generation ? { defaults: model.generation } : {}),
    log: logger,
    metrics,
    vllmMetrics,
    onScrape: async () => {
      const stats = engine.stats();
      vllmMetrics.setLoad(stats);
      const { blockSize, enablePrefixCaching } = options;
      const { numBlocks } = stats;
      vllmMetrics.setCacheConfig({ blockSize, numBlocks, cacheDtype: model.kvDtype, enablePrefixCaching });
      await groupMetrics.scrape(stats);
    },
    version: options.revision,
    isReady,
    topology: async () => ({
      groups: [await groupTopology(formation, { group, url, model: modelName, quantization, warnings })],
    }),
    apiKeys: options.apiKeys,
    maxLogprobs,
    schedulesByPriority: options.schedulingPolicy === 'priority',
    streamInterval: options.streamInterval,
    forceIncludeUsage: options.forceIncludeUsage,
    logRequests: options.logRequests,
    logPromptChars: options.logPromptChars,
    ...(options.seed === null ? {} : { randomSeed: repeatableSeeds(options.seed) }),
    guardMetrics: options.apiKeyGuardsMetrics,
    groupKey: options.groupKey,
  });
  const listening = await listen(server, options.host, options.port);
  url = options.advertiseUrl ?? `http://${reachableHost(options.host, address)}:${listening.port}`;
  logger.info(`the leader of ${group} listens on http://${options.host}:${listening.port}`);

  let draining = false;
  const advert = (): LeaderAdvert => {
    const { numRunning, numWaiting, kvCacheUsage } = engine.stats();
    const load = { numRequestsRunning: numRunning, numRequestsWaiting: numWaiting, kvCacheUsage };
    return {
      group,
      url,
      model: modelName,
      fingerprint: formation.current.fingerprint,
      ready: isReady().ready,
      draining,
      maxModelLen: model.maxModelLen,
      ...load,
    };
  };
  const lease = main.announce(`${subjects.leaders()}.${group.replaceAll(/[^A-Za-z0-9_-]/g, '_')}`, advert(), {
    ttlMs: LEASE_TTL_MS,
  });
  let last = '';
  const publish = setInterval(() => {
    const value = advert();
    const text = JSON.stringify(value);
    if (text !== last) lease.update(value);
    last = text;
  }, ADVERT_MS);
  stack.defer(() => clearInterval(publish));

  await Promise.race([untilAbort(signal), forming]);
  draining = true;
  lease.update(advert());
  await server.drain(options.drainMs);
  lease.close();
}

async function brokerUrl(
  address: string,
  bindHost: string,
  options: NodeOptions,
  logger: Logger,
  stack: AsyncDisposableStack,
): Promise<string> {
  if (options.natsUrl !== null) return options.natsUrl;
  const broker = await Broker.start({ host: bindHost, port: options.natsPort, groupKey: options.groupKey, logger });
  stack.use(broker);
  return `nats://${address.includes(':') ? `[${address}]` : address}:${broker.port}`;
}

function superviseOwnRank(of: {
  readonly place: GroupPlace;
  readonly options: NodeOptions;
  readonly identity: Identity;
  readonly main: MessageBus;
  readonly directAddress: { readonly host: string; readonly port: number };
  readonly natsUrl: string | null;
  readonly interfaceName: string | null;
  readonly logger: Logger;
}): RankSupervisor {
  const { place, options, main } = of;
  const advert = (rank: AgentAdvert['rank']): AgentAdvert => ({
    workerIndex: 0,
    host: hostname(),
    pid: process.pid,
    rank,
  });
  const lease = main.announce(`${subjects.agents(place.group)}.0`, advert(null), { ttlMs: LEASE_TTL_MS });
  return new RankSupervisor(
    {
      name: `${of.identity.name}-0/0`,
      group: place.group,
      workerIndex: 0,
      revision: options.revision,
      bus: of.natsUrl === null ? { hub: of.directAddress } : { natsUrl: of.natsUrl },
      groupKey: options.groupKey,
      threads: options.threads,
      interfaceName: of.interfaceName,
      logLevel: options.logLevel,
      logFormat: options.logFormat,
    },
    { logger: of.logger, onChange: (rank) => lease.update(advert(rank)) },
  );
}

function formationInput(
  model: ServedModelFiles,
  options: NodeOptions,
  engine: EngineConfig & Pick<FormationInput, 'maxLogprobs'>,
): FormationInput {
  const { config, dir, kvDtype, maxModelLen } = model;
  const { maxNumRows, maxNumSeqs, maxNumBatchedTokens, maxLogprobs } = engine;
  const { layerPartition, blockSize, kvCacheBytes, memoryShare, numBlocks } = options;
  return {
    model: dir,
    config,
    kvCacheDtype: options.kvCacheDtype,
    kvDtype,
    quantization: options.quantization,
    weightCache: options.weightCache,
    layerPartition,
    maxModelLen,
    maxNumSeqs,
    maxNumBatchedTokens,
    maxNumRows,
    maxLogprobs,
    blockSize,
    kvCacheBytes,
    memoryShare,
    numBlocks,
  };
}

/** Where others reach a server bound to `host`. */
function reachableHost(host: string, address: string): string {
  const shown = host === '0.0.0.0' || host === '::' ? address : host;
  return shown.includes(':') ? `[${shown}]` : shown;
}
