import type { RankStatus } from '../rank/rank-actor.ts';

/** What a rank says of itself before it has done anything. */
export const JOINING: Omit<RankStatus, 'epoch'> = {
  state: 'join',
  stateSeconds: 0,
  detail: '',
  pairs: [],
  steps: 0,
  computeUs: 0,
  waitUs: 0,
  experts: [],
};
