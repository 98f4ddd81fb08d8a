export { LoadEstimate } from './load-estimate.ts';
export { type Reservation, Reservations } from './reservations.ts';
export {
  availableFilter,
  type Endpoint,
  type Filter,
  leastLoadedScorer,
  modelFilter,
  notFailedFilter,
  pickEndpoint,
  type PickRequest,
  type SchedulingProfile,
  type Scorer,
} from './scheduling.ts';
