import { parseLwsEnvironment, runLeaderAgent, runWorkerAgent } from '@skein/agent';
import { environment } from './environment.ts';
import type { Running } from './lifecycle.ts';
import { groupShape } from './cluster-parts.ts';
import { nodeOptions } from './node-options.ts';

/** `skein node`: one pod of a LeaderWorkerSet group. */
export async function node(running: Running): Promise<void> {
  const { resolved } = running;
  const place = parseLwsEnvironment(environment);
  const podsOfReplica = Math.max(1, Math.floor(place.groupSize / resolved.settings.dataParallelSize));
  const shape = groupShape(resolved, podsOfReplica);
  const options = { ...nodeOptions(running, { shape, groupSize: place.groupSize }), brokerless: false };
  const logger = running.logger.child({ agent: `${place.group}-${place.workerIndex}` });
  await (place.workerIndex === 0
    ? runLeaderAgent(place, options, logger, running.signal)
    : runWorkerAgent(place, options, logger, running.signal));
}
