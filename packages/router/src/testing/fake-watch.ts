import type { LeaseEvent, LeaseMember, LeaseWatch } from '@skein/message-bus';
import type { LeaderAdvert } from '@skein/protocol';

/** A bus's `watch` that a test drives by hand. */
export class FakeWatch {
  readonly members: Map<string, LeaseMember> = new Map();
  #listener: ((event: LeaseEvent) => void) | null = null;

  watch(_prefix: string, listener: (event: LeaseEvent) => void): LeaseWatch {
    this.#listener = listener;
    return { members: this.members, close: () => (this.#listener = null) };
  }

  announce(advert: LeaderAdvert, incarnation = 'abcdefghijkl'): void {
    const key = `leader.${advert.group}`;
    const member = { key, from: { name: advert.group, incarnation }, value: advert };
    const type = this.members.has(key) ? 'updated' : 'joined';
    this.members.set(key, member);
    this.#listener?.({ type, member });
  }

  withdraw(group: string): void {
    const member = this.members.get(`leader.${group}`);
    if (member === undefined) return;
    this.members.delete(member.key);
    this.#listener?.({ type: 'lost', member, reason: 'expired' });
  }

  /** The news that an earlier incarnation is gone. */
  tellReplaced(advert: LeaderAdvert, incarnation: string): void {
    const member = { key: `leader.${advert.group}`, from: { name: advert.group, incarnation }, value: advert };
    this.#listener?.({ type: 'lost', member, reason: 'replaced' });
  }
}

export function advertOf(group: string, url: string, fields: Partial<LeaderAdvert> = {}): LeaderAdvert {
  return {
    group,
    url,
    model: 'tiny',
    fingerprint: 'f',
    ready: true,
    draining: false,
    numRequestsRunning: 0,
    numRequestsWaiting: 0,
    kvCacheUsage: 0,
    maxModelLen: 4096,
    ...fields,
  };
}
