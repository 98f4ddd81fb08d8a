import { type GroupPlace, runLeaderAgent } from '@skein/agent';
import { clusterShape } from './cluster-parts.ts';
import type { Running } from './lifecycle.ts';
import { nodeOptions } from './node-options.ts';

/** `skein serve`: one group of one rank without a broker; more than that is a cluster. */
export async function serve(running: Running): Promise<void> {
  const options = nodeOptions(running);
  const { groups, stages } = clusterShape(running.resolved);
  if (groups * stages > 1) return (await import('./up.ts')).up(running);
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
