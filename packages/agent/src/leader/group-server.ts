import { setTimeout as delay } from 'node:timers/promises';
import { type EngineConfig, engineConfig, type EngineStats } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import { createOpenAIServer } from '@skein/openai-server';
import { type LeaderAdvert, subjects } from '@skein/protocol';
import { type Logger, Metrics, Tracing, VllmMetrics } from '@skein/telemetry';
import { hostInUrl, isLoopback } from '../host.ts';
import { LEASE_TTL_MS } from '../leases.ts';
import { listen } from '../listen.ts';
import { ranksPerAgent, ranksPerReplica } from '../group-shape.ts';
import type { GroupPlace } from '../lws-environment.ts';
import type { NodeOptions } from '../node-options.ts';
import { networkTopology } from '../preflight/network-view.ts';
import { Preflight } from '../preflight/preflight.ts';
import { untilAbort } from '../until-aborted.ts';
import { ExpertLoads } from './expert-loads.ts';
import { Formation } from './formation.ts';
import type { FormationInput } from './formation-plan.ts';
import { GroupMetrics } from './group-metrics.ts';
import { logprobsLimit } from './logprobs-limit.ts';
import { repeatableSeeds } from './repeatable-seeds.ts';
import { Replica } from './replica.ts';
import { Replicas } from './replicas.ts';
import { RequestSpans } from './request-spans.ts';
import type { ServedModelFiles } from './served-model.ts';
import { isLargeTokenizer, readCodec } from './text-codec.ts';
import { groupTopology } from './topology.ts';

const ADVERT_MS = 200;
/** How long the reading of a large vocabulary waits for ranks to load. */
const LOADING_MS_MAX = 2000;

export interface ServedGroup {
  readonly place: GroupPlace;
  readonly options: NodeOptions;
  readonly model: ServedModelFiles;
  /** Of the leader, as the group reaches it. */
  readonly address: string;
  readonly main: MessageBus;
  readonly direct: MessageBus;
  /** Where ranks reach `direct`. */
  readonly directAddress: { readonly host: string; readonly port: number };
  /** Of the broker that this leader runs; null without one. */
  readonly brokerPort: number | null;
}

/** The leader's part above the buses: the formation, the engine and the OpenAI server. Runs until `signal`, then drains. */
export async function serveGroup(of: ServedGroup, logger: Logger, signal: AbortSignal): Promise<void> {
  const { options, model, address, main, direct, directAddress } = of;
  const { group, groupSize } = of.place;
  await using stack = new AsyncDisposableStack();
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
  const preflight = new Preflight(main, { group, brokerPort: of.brokerPort, logger });
  const input = formationInput(model, options, groupSize, { ...config, maxLogprobs });
  const { shape } = options;
  const replicas: Replica[] = [];
  for (let index = 0; index < shape.replicas; index++) {
    const replica = await Replica.start({
      index,
      engine: config,
      bus: main,
      group,
      numReplicas: shape.replicas,
      kvEvents: options.kvEvents,
      metrics: index === 0 ? vllmMetrics : new VllmMetrics(metrics, { modelName, engine: String(index) }),
      spans,
      logger: shape.replicas === 1 ? logger : logger.child({ replica: index }),
    });
    replicas.push(stack.use(replica));
  }
  // Replicas that share nothing are formed, and lost, each by itself.
  const formedTogether = shape.sharesExperts ? [replicas] : replicas.map((replica) => [replica]);
  const formations: Formation[] = formedTogether.map(
    (of, own): Formation =>
      new Formation({
        main,
        direct,
        directAddress,
        group,
        groupSize,
        preflight,
        stepDeadlineMs: options.stepDeadlineMs,
        input,
        replicas: of,
        fingerprintOfOthers: () => fingerprintOf(formations.filter((_, other) => other !== own)),
        logger: formedTogether.length === 1 ? logger : logger.child({ replica: of[0]?.index }),
        onFormed: () => {
          for (const replica of of) replica.formed();
        },
      }),
  );
  const stopping = new AbortController();
  const forming = Promise.all(formations.map((formation) => formation.run(stopping.signal)));
  // Awaited below; until then a rejection is nobody's.
  forming.catch(() => {});
  stack.defer(async () => {
    stopping.abort();
    await forming.catch(() => {});
  });
  const expertLoads = new ExpertLoads(metrics);
  const groupMetrics = new GroupMetrics(metrics, formations, expertLoads);

  // While this thread reads a large vocabulary no rank can be told what to load: that goes first, if ranks come soon.
  if (isLargeTokenizer(options))
    await Promise.race([
      ...formations.map(({ loading }) => loading),
      forming,
      delay(LOADING_MS_MAX, undefined, { signal }),
    ]);
  const codec = await readCodec(options);
  const warnings =
    groupSize > 1 && options.groupKey === null && !isLoopback(address)
      ? ['no SKEIN_GROUP_KEY: whoever reaches this network can join the group']
      : [];
  for (const warning of warnings) logger.warn(warning);
  const isReady = (): { ready: boolean; reason: string } => {
    const problems = formations.flatMap((formation, i) =>
      (formedTogether[i] ?? []).map((replica) => replica.problem(formation)),
    );
    // One that serves is enough: the others' requests wait or go to it.
    const ready = problems.includes(null);
    return { ready, reason: ready ? '' : problems.join('; ') };
  };
  const engines = new Replicas(replicas);
  let url = '';
  const server = createOpenAIServer({
    engine: spans?.over(engines) ?? engines,
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
      const { blockSize, enablePrefixCaching } = options;
      for (const { engine, metrics: own } of replicas) {
        const stats = engine.stats();
        own.setLoad(stats);
        own.setCacheConfig({ blockSize, numBlocks: stats.numBlocks, cacheDtype: model.kvDtype, enablePrefixCaching });
      }
      await groupMetrics.scrape(replicas.map(({ engine }) => engine.stats()));
    },
    version: options.revision,
    isReady,
    topology: async () => ({
      groups: [
        await groupTopology(formations, {
          group,
          url,
          model: modelName,
          quantization: model.quantization,
          warnings,
          network: preflight.view && networkTopology(preflight.view),
        }),
      ],
    }),
    experts: async () => ({
      groups: [{ name: group, model: modelName, ...(await expertLoads.read(formations)) }],
    }),
    apiKeys: options.apiKeys,
    maxLogprobs,
    schedulesByPriority: options.schedulingPolicy === 'priority',
    numReplicas: replicas.length,
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
  logger.info(`the leader of ${group} listens on http://${hostInUrl(options.host)}:${listening.port}`);

  let draining = false;
  const advert = (): LeaderAdvert => {
    const stats = replicas.map(({ engine }) => engine.stats());
    const sum = (of: (stats: EngineStats) => number): number => stats.reduce((total, one) => total + of(one), 0);
    const load = {
      numRequestsRunning: sum(({ numRunning }) => numRunning),
      numRequestsWaiting: sum(({ numWaiting }) => numWaiting),
      kvCacheUsage: sum(({ kvCacheUsage }) => kvCacheUsage) / stats.length,
    };
    return {
      group,
      url,
      model: modelName,
      fingerprint: fingerprintOf(formations),
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

function formationInput(
  model: ServedModelFiles,
  options: NodeOptions,
  groupSize: number,
  engine: EngineConfig & Pick<FormationInput, 'maxLogprobs'>,
): FormationInput {
  const { config, dir, kvDtype, maxModelLen, layerPartition, costsToMeasure, expertPlacements } = model;
  const { maxNumRows, maxNumSeqs, maxNumBatchedTokens, maxLogprobs } = engine;
  const { shape, blockSize, kvCacheBytes, memoryShare, numBlocks } = options;
  // Those that share their experts are one formation.
  const replicasHere = shape.sharesExperts ? 1 : Math.max(1, ranksPerAgent(shape, groupSize) / ranksPerReplica(shape));
  return {
    model: dir,
    config,
    kvCacheDtype: options.kvCacheDtype,
    kvDtype,
    quantization: options.quantization,
    weightCache: options.weightCache,
    shape,
    layerPartition,
    costsToMeasure,
    expertPlacements,
    maxModelLen,
    maxNumSeqs,
    maxNumBatchedTokens,
    maxNumRows,
    maxLogprobs,
    blockSize,
    kvCacheBytes,
    // Replicas that share a host share its memory: each measures what is left before the others' pools fill.
    memoryShare: memoryShare / replicasHere,
    othersHere: replicasHere - 1,
    numBlocks,
  };
}

/** Of the first that has loaded the model; empty before. */
function fingerprintOf(formations: readonly Formation[]): string {
  return formations.map(({ current }) => current.fingerprint).find((known) => known !== '') ?? '';
}

/** Where others reach a server bound to `host`. */
function reachableHost(host: string, address: string): string {
  return hostInUrl(host === '0.0.0.0' || host === '::' ? address : host);
}
