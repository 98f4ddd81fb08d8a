import { ConfigError, type GroupPlace, parseLwsEnvironment, runLeaderAgent, runWorkerAgent } from '@skein/agent';
import { clusterShape } from './cluster-parts.ts';
import { environment, variable } from './environment.ts';
import type { Running } from './lifecycle.ts';
import { nodeOptions } from './node-options.ts';
import { runRouter } from './router.ts';
import { up } from './up.ts';

/** `skein serve`: one group of one rank without a broker; more than that is a cluster. */
async function serve(running: Running): Promise<void> {
  const options = nodeOptions(running);
  const { groups, stages } = clusterShape(running.resolved);
  if (groups * stages > 1) return up(running);
  const place: GroupPlace = {
    group: 'serve-0',
    groupIndex: 0,
    groupSize: 1,
    workerIndex: 0,
    leaderAddress: '127.0.0.1',
    peers: ['127.0.0.1'],
  };
  return runLeaderAgent(place, { ...options, brokerless: true }, running.logger, running.signal);
}

/** `skein node`: one pod of a LeaderWorkerSet group. */
async function node(running: Running): Promise<void> {
  const { settings } = running.resolved;
  const place = parseLwsEnvironment(environment);
  const stages = settings.pipelineParallelSize ?? place.groupSize;
  if (stages !== place.groupSize)
    throw new ConfigError(
      'ERR_OPTION',
      `--pipeline-parallel-size is ${stages}, and LWS_GROUP_SIZE is ${place.groupSize}: a group has one stage in each pod`,
    );
  const options = { ...nodeOptions(running), brokerless: false };
  const logger = running.logger.child({ agent: `${place.group}-${place.workerIndex}` });
  await (place.workerIndex === 0
    ? runLeaderAgent(place, options, logger, running.signal)
    : runWorkerAgent(place, options, logger, running.signal));
}

/** `skein router`: the front door. */
async function router({ resolved, logger, signal }: Running): Promise<void> {
  const { settings } = resolved;
  await runRouter(
    {
      host: settings.host,
      port: settings.port,
      natsUrl: settings.natsUrl ?? 'nats://127.0.0.1:4222',
      groupKey: variable('groupKey'),
      apiKeys: settings.apiKey ?? [],
      guardMetrics: settings.apiKeyGuardsMetrics,
      logRequests: settings.enableLogRequests,
      tracesEndpoint: settings.otlpTracesEndpoint,
      drainMs: settings.drainTimeout * 1000,
    },
    logger.child({ role: 'router' }),
    signal,
  );
}

export interface ProcessCommand {
  readonly description: string;
  readonly takesModel: boolean;
  readonly run: (running: Running) => Promise<void>;
}

export const processCommands: Readonly<Record<'up' | 'serve' | 'node' | 'router', ProcessCommand>> = {
  up: {
    description: 'start a whole cluster on this machine: broker, router, and agents with their ranks',
    takesModel: true,
    run: up,
  },
  serve: { description: 'serve a model in one group of one rank, without a broker', takesModel: true, run: serve },
  node: {
    description: 'be one pod of a LeaderWorkerSet group (LWS_LEADER_ADDRESS, LWS_GROUP_SIZE, LWS_WORKER_INDEX)',
    takesModel: true,
    run: node,
  },
  router: {
    description: 'the front door: finds leaders on the broker and relays requests',
    takesModel: false,
    run: router,
  },
};
