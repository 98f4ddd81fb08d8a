export { natsBus } from './bus.ts';
export { endProcess, spawnBound, watchParent } from './child-process.ts';
export { ConfigError, FormationError } from './errors.ts';
export { Broker } from './leader/broker.ts';
export { runLeaderAgent } from './leader/leader-agent.ts';
export { type GroupPlace, parseLwsEnvironment } from './lws-environment.ts';
export type { NodeOptions } from './node-options.ts';
export { Waiting } from './waiting.ts';
export { runWorkerAgent } from './worker/worker-agent.ts';
