/** Something that can take a request. */
export interface Endpoint {
  readonly name: string;
  readonly model: string;
  /** Ready, and neither draining nor out of service. */
  readonly available: boolean;
  /** Requests it is thought to have, those being sent included. */
  readonly load: number;
}

export interface PickRequest {
  /** Only endpoints of this model; null: of any. */
  readonly model: string | null;
  /** Names of endpoints that have failed this request. */
  readonly failed: ReadonlySet<string>;
}

/** Says which endpoints may take a request at all. */
export type Filter = (endpoint: Endpoint, request: PickRequest) => boolean;

/** Says how good a choice an endpoint is: 0 to 1. Scores of several scorers are added. */
export type Scorer = (endpoint: Endpoint, request: PickRequest) => number;

export const availableFilter: Filter = (endpoint) => endpoint.available;
export const modelFilter: Filter = (endpoint, { model }) => model === null || endpoint.model === model;
export const notFailedFilter: Filter = (endpoint, { failed }) => !failed.has(endpoint.name);

export const leastLoadedScorer: Scorer = (endpoint) => 1 / (1 + Math.max(0, endpoint.load));

export interface SchedulingProfile {
  readonly filters: readonly Filter[];
  readonly scorers: readonly Scorer[];
  /** In [0, 1): breaks ties, anew for each request. */
  readonly random: () => number;
}

/** @returns the endpoint with the best score, or null when none passes the filters. */
export function pickEndpoint<E extends Endpoint>(
  endpoints: Iterable<E>,
  request: PickRequest,
  profile: SchedulingProfile,
): E | null {
  let best: E[] = [];
  let bestScore = -Infinity;
  for (const endpoint of endpoints) {
    if (!profile.filters.every((filter) => filter(endpoint, request))) continue;
    const score = profile.scorers.reduce((sum, scorer) => sum + scorer(endpoint, request), 0);
    if (score > bestScore) [best, bestScore] = [[endpoint], score];
    else if (score === bestScore) best.push(endpoint);
  }
  return best[Math.floor(profile.random() * best.length)] ?? null;
}
