import { ConfigError, parseLwsEnvironment, runLeaderAgent, runWorkerAgent } from '@skein/agent';
import { environment } from './environment.ts';
import type { Running } from './lifecycle.ts';
import { nodeOptions } from './node-options.ts';

/** `skein node`: one pod of a LeaderWorkerSet group. */
export async function node(running: Running): Promise<void> {
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
