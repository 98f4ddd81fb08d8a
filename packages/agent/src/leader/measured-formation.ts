import type { RankStatus } from '../rank/rank-actor.ts';
import type { Member } from './membership.ts';

/** What of a formation is measured. */
export interface MeasuredFormation {
  readonly current: { readonly epoch: number; readonly members: readonly Member[] };
  status(member: Member): Promise<RankStatus | null>;
}
