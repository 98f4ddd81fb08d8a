export { bytesSchema } from './bytes.ts';
export { SkeinError, type SkeinErrorOptions } from './errors.ts';
export { type Identity, identitySchema, newIdentity, sameIdentity } from './identity.ts';
export {
  layerRangeSchema,
  type LeaderAdvert,
  leaderAdvertSchema,
  type RankAdvert,
  rankAdvertSchema,
  type RankState,
  rankStateSchema,
} from './group.ts';
export { type Experts, expertsSchema, type GroupExperts } from './experts.ts';
export { type GroupTopology, type NetworkTopology, type Topology, topologySchema } from './topology.ts';
export { type StepPlan, stepPlanSchema, type StepResult, stepResultSchema } from './step-plan.ts';
export { type KVEventBatchMessage, kvEventBatchSchema, type KVEventMessage, kvEventSchema } from './kv-events.ts';
export { subjects, token } from './subjects.ts';
