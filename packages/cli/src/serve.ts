import { type GroupPlace, runLeaderAgent } from '@skein/agent';
import { groupShape } from './cluster-parts.ts';
import type { Running } from './lifecycle.ts';
import { nodeOptions } from './node-options.ts';

/** `skein serve`: a group of one agent, which runs all ranks, without a broker. */
export async function serve(running: Running): Promise<void> {
  const options = nodeOptions(running, { shape: groupShape(running.resolved, 1), groupSize: 1 });
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
