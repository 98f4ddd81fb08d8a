import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Broker, ConfigError, hostInUrl, numRanks, untilAbort, watchParent } from '@skein/agent';
import { spawnBound, SupervisedProcess } from '@skein/message-bus';
import { readModel, stageLayers } from '@skein/models';
import { topologySchema } from '@skein/protocol';
import { type Logger, variables } from '@skein/telemetry';
import { clusterModel, clusterParts, clusterShape, type Part } from './cluster-parts.ts';
import { environment, variable } from './environment.ts';
import { EXIT_CONFIG, type Running } from './lifecycle.ts';
import { modelFolder } from './model-folder.ts';

/** Between two looks at whether the cluster is ready. */
const POLL_MS = 50;
/** Between asking a part to end and making it. */
const GRACE_MS = 4000;

/** A whole local cluster: a broker, a router, and for each group its agents, each with the environment LeaderWorkerSet would
 *  give it. A part that dies is started again. */
export async function up({ resolved, logger, logFormat, signal }: Running): Promise<void> {
  const { settings } = resolved;
  const { groups } = settings;
  const shape = clusterShape(resolved);
  // What no part could start with is said before any is started.
  const { dir } = modelFolder(clusterModel(resolved), settings.revision);
  const { config } = await readModel(dir);
  stageLayers(config.numLayers, shape.stages, settings.ppLayerPartition);
  if (settings.port === 0) throw new ConfigError('ERR_OPTION', '--port is 0; up needs the port of its router');
  const startMs = performance.now();
  const groupKey = variable('groupKey') ?? randomBytes(24).toString('base64url');
  const orphaned = new AbortController();
  watchParent(() => orphaned.abort());
  const ending = AbortSignal.any([signal, orphaned.signal]);
  await using broker = await Broker.start({ host: '127.0.0.1', port: 0, groupKey, logger });
  const env = {
    [variables.groupKey.name]: groupKey,
    [variables.natsUrl.name]: `nats://127.0.0.1:${broker.port}`,
    [variables.logFormat.name]: logFormat,
  };
  const refused: ConfigError[] = [];
  const onRefused = (name: string): void => {
    refused.push(new ConfigError('ERR_CHILD_CONFIG', `${name} cannot run like this; its last line says why`));
    orphaned.abort();
  };
  const supervised = clusterParts(resolved).map((part) =>
    supervise({ ...part, env: { ...env, ...part.env } }, logger, onRefused),
  );
  try {
    const { host, port } = settings;
    const url = `http://${hostInUrl(host)}:${port}`;
    await untilReady(url, { groups, apiKey: settings.apiKey?.[0] ?? null, agents: supervised.slice(1) }, ending);
    if (!ending.aborted) {
      const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
      logger.info(
        `ready in ${seconds} s: ${url}/v1 (${counted(groups, 'group')} of ${counted(numRanks(shape), 'rank')})`,
      );
    }
    await untilAbort(ending);
  } finally {
    // The router stops first, so that it takes no request that no leader would answer.
    const [router, ...agents] = supervised;
    await router?.close();
    await Promise.all(agents.map((part) => part.close()));
  }
  const [refusal] = refused;
  if (refusal) throw refusal;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

/** Keeps one part running. `onRefused` hears of an end that another start cannot mend. */
function supervise(part: Part, logger: Logger, onRefused: (name: string) => void): SupervisedProcess {
  const main = fileURLToPath(import.meta.resolve('./main.ts'));
  return new SupervisedProcess({
    start: () =>
      spawnBound(process.execPath, [main, ...part.args], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...environment, ...part.env },
      }),
    onEnd: ({ reason, exitCode, restartMs }) => {
      const isRefused = exitCode === EXIT_CONFIG;
      if (isRefused) onRefused(part.name);
      else logger.warn({ restartMs }, `${part.name} ${reason}; starting it again`);
      return !isRefused;
    },
    graceMs: GRACE_MS,
  });
}

/** Waits until the router has a ready leader for every group: leaders of ours, since another cluster may have the port. */
async function untilReady(
  url: string,
  of: { readonly groups: number; readonly apiKey: string | null; readonly agents: readonly SupervisedProcess[] },
  signal: AbortSignal,
): Promise<void> {
  const { groups, apiKey, agents } = of;
  const headers = apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
  while (!signal.aborted) {
    const response = await fetch(`${url}/v1/skein/topology`, { headers, signal }).catch(() => null);
    const shown = topologySchema.safeParse(await response?.json().catch(() => null));
    const isOurs = (pid: number): boolean => agents.some((agent) => agent.pid === pid);
    const ready =
      shown.data?.groups.filter((group) => group.ready && group.agents.every(({ pid }) => isOurs(pid))) ?? [];
    if (ready.length >= groups && (await fetch(`${url}/readyz`, { signal }).catch(() => null))?.ok) return;
    await delay(POLL_MS, undefined, { signal }).catch(() => {});
  }
}
