import type { Identity } from '@skein/protocol';
import { sameIdentity } from '@skein/protocol';
import { addresses } from './addresses.ts';
import { RECONNECT_MS_MAX } from './carrier.ts';
import { encode } from './codec.ts';
import type { Envelope } from './envelope.ts';
import type { Link } from './link.ts';
import type { LeaseEvent, LeaseMember, LeaseWatch } from './message-bus.ts';
import { checkSubject, isUnder } from './subject.ts';

type LeaseEnvelope = Envelope & { kind: 'lease' };

interface Tracked {
  member: LeaseMember;
  birthMs: number;
  ttlMs: number;
  /** By this process's monotonic clock. */
  expiresAt: number;
  encoded: Uint8Array;
}

const MEMBERS_MAX = 65_536;

/** Follows the leases under a prefix. A lease has expired when its ttl has passed unheard *and* the bus has then proved,
 *  with a round trip, that it would have delivered a heartbeat. */
export class LeaseWatcher implements LeaseWatch {
  readonly members: ReadonlyMap<string, LeaseMember>;
  readonly #link: Link;
  readonly #prefix: string;
  readonly #listener: (event: LeaseEvent) => void;
  readonly #members = new Map<string, LeaseMember>();
  readonly #tracked = new Map<string, Tracked>();
  readonly #stops: (() => void)[];
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(link: Link, prefix: string, listener: (event: LeaseEvent) => void) {
    this.members = this.#members;
    this.#link = link;
    this.#prefix = checkSubject(prefix);
    this.#listener = listener;
    const receive = (envelope: Envelope | null, from: Identity | null): void => {
      if (envelope && from) this.#receive(envelope, from);
    };
    this.#stops = [
      link.listen(addresses.lease(prefix), receive),
      link.listen(`${addresses.lease(prefix)}.>`, receive),
      link.listen(addresses.inbox(link.identity.incarnation), receive),
      link.onConnectionChange((connected) => this.#onConnectionChange(connected)),
    ];
    this.#ask();
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #ask(): void {
    this.#link.tell(addresses.leaseHolders, { kind: 'who', prefix: this.#prefix });
  }

  #onConnectionChange(connected: boolean): void {
    if (connected) {
      this.#refreshAll();
      this.#ask();
    } else if (this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = null;
    }
  }

  #receive(envelope: Envelope, from: Identity): void {
    if (envelope.kind !== 'lease' && envelope.kind !== 'left') return;
    if (!isUnder(this.#prefix, envelope.key)) return;
    const tracked = this.#tracked.get(envelope.key);
    if (envelope.kind === 'left') {
      const isHeld = tracked && sameIdentity(tracked.member.from, from) && tracked.birthMs <= envelope.birthMs;
      if (isHeld) this.#lose(tracked, 'left');
      return;
    }
    if (!tracked) this.#join(envelope, from);
    else if (sameIdentity(tracked.member.from, from)) this.#hear(tracked, envelope);
    else if (isYounger(envelope, from, tracked)) {
      this.#lose(tracked, 'replaced');
      this.#join(envelope, from);
    }
  }

  #join(envelope: LeaseEnvelope, from: Identity): void {
    const { key, birthMs, ttlMs, data } = envelope;
    if (this.#tracked.size >= MEMBERS_MAX) {
      this.#link.warnings.warn('ERR_OVERLOADED', `more than ${MEMBERS_MAX} leases under ${this.#prefix}`);
      return;
    }
    const member: LeaseMember = { key, from, value: data };
    this.#members.set(key, member);
    this.#tracked.set(key, { member, birthMs, ttlMs, expiresAt: performance.now() + ttlMs, encoded: encode(data) });
    this.#schedule();
    this.#emit({ type: 'joined', member });
  }

  #hear(tracked: Tracked, envelope: LeaseEnvelope): void {
    tracked.birthMs = Math.max(tracked.birthMs, envelope.birthMs);
    tracked.ttlMs = envelope.ttlMs;
    tracked.expiresAt = performance.now() + envelope.ttlMs;
    const encoded = encode(envelope.data);
    if (Buffer.compare(encoded, tracked.encoded) === 0) return;
    tracked.encoded = encoded;
    tracked.member = { ...tracked.member, value: envelope.data };
    this.#members.set(envelope.key, tracked.member);
    this.#emit({ type: 'updated', member: tracked.member });
  }

  #lose(tracked: Tracked, reason: 'left' | 'expired' | 'replaced'): void {
    this.#tracked.delete(tracked.member.key);
    this.#members.delete(tracked.member.key);
    this.#emit({ type: 'lost', member: tracked.member, reason });
  }

  #emit(event: LeaseEvent): void {
    this.#link.guard(this.#prefix, () => this.#listener(event));
  }

  #refreshAll(): void {
    const now = performance.now();
    // The members have lost the same broker and may need this long to come back.
    for (const tracked of this.#tracked.values()) tracked.expiresAt = now + RECONNECT_MS_MAX + tracked.ttlMs;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer || this.#closed || this.#tracked.size === 0 || !this.#link.carrier.connected) return;
    let dueAt = Number.POSITIVE_INFINITY;
    for (const tracked of this.#tracked.values()) dueAt = Math.min(dueAt, tracked.expiresAt);
    dueAt = Math.max(dueAt, performance.now());
    this.#timer = setTimeout(() => void this.#expire(dueAt), Math.ceil(dueAt - performance.now()));
  }

  async #expire(dueAt: number): Promise<void> {
    const timer = this.#timer;
    const due = [...this.#tracked.values()].filter((tracked) => tracked.expiresAt <= performance.now());
    if (due.length > 0) {
      try {
        await this.#link.carrier.flush();
      } catch {
        // Disconnected: the reconnection schedules the next look.
        if (this.#timer === timer) this.#timer = null;
        return;
      }
    }
    if (this.#timer !== timer || this.#closed) return;
    this.#timer = null;
    const now = performance.now();
    for (const tracked of due) {
      if (this.#tracked.get(tracked.member.key) !== tracked || tracked.expiresAt > now) continue;
      // A round trip that took this long, or a timer this late, means that this process or the broker stood still, and
      // heartbeats may wait elsewhere.
      if (now - dueAt > tracked.ttlMs / 3 && now - tracked.expiresAt > tracked.ttlMs / 3)
        tracked.expiresAt = now + tracked.ttlMs;
      else this.#lose(tracked, 'expired');
    }
    this.#schedule();
  }
}

/** The same for every watcher, whichever of two holders it hears first. */
function isYounger(envelope: LeaseEnvelope, from: Identity, tracked: Tracked): boolean {
  if (envelope.birthMs !== tracked.birthMs) return envelope.birthMs > tracked.birthMs;
  return from.incarnation > tracked.member.from.incarnation;
}
