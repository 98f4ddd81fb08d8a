import { addresses } from './addresses.ts';
import { decode, encode } from './codec.ts';
import { DURATION_MS_MAX } from './envelope.ts';
import { MessageBusError } from './errors.ts';
import type { Link } from './link.ts';
import type { Lease } from './message-bus.ts';
import { checkSubject, isUnder } from './subject.ts';

const HEARTBEATS_PER_TTL = 3;

interface Held {
  readonly key: string;
  readonly ttlMs: number;
  /** When it was announced. Of two processes that hold one key all watchers take the younger. */
  readonly birthMs: number;
  value: unknown;
  timer: NodeJS.Timeout;
}

/** The leases that this process holds: announced at once, three times per ttl, on reconnection, and to whoever asks. */
export class LeaseHolder {
  readonly #link: Link;
  readonly #held = new Map<string, Held>();
  #stopListening: (() => void) | null = null;

  constructor(link: Link) {
    this.#link = link;
    link.onConnectionChange((connected) => {
      if (connected) for (const held of this.#held.values()) this.#repeat(held, addresses.lease(held.key));
    });
  }

  announce(key: string, value: unknown, ttlMs: number): Lease {
    checkSubject(key);
    if (!Number.isInteger(ttlMs) || ttlMs < HEARTBEATS_PER_TTL || ttlMs > DURATION_MS_MAX) {
      throw new RangeError(`ttlMs is ${ttlMs}; it is ${HEARTBEATS_PER_TTL} to ${DURATION_MS_MAX} whole milliseconds`);
    }
    if (this.#held.has(key)) throw new MessageBusError('ERR_SUBJECT', `this bus holds a lease ${key} already`);
    this.#answerQuestions();
    const to = addresses.lease(key);
    const timer = setInterval(() => this.#repeat(held, to), Math.floor(ttlMs / HEARTBEATS_PER_TTL));
    const held: Held = { key, ttlMs, birthMs: Date.now(), value: null, timer };
    try {
      held.value = snapshot(value);
      this.#announce(held, to);
    } catch (error) {
      clearInterval(timer);
      throw error;
    }
    this.#held.set(key, held);
    return {
      update: (next: unknown): void => {
        if (this.#held.get(key) !== held) throw new MessageBusError('ERR_CLOSED', `the lease ${key} was withdrawn`);
        const before = held.value;
        held.value = snapshot(next);
        try {
          this.#announce(held, to);
        } catch (error) {
          // The watchers go on seeing what they have seen.
          held.value = before;
          throw error;
        }
      },
      close: (): void => this.#withdraw(held),
    };
  }

  close(): void {
    for (const held of [...this.#held.values()]) this.#withdraw(held);
    this.#stopListening?.();
    this.#stopListening = null;
  }

  #withdraw(held: Held): void {
    if (this.#held.get(held.key) !== held) return;
    this.#held.delete(held.key);
    clearInterval(held.timer);
    this.#link.tell(addresses.lease(held.key), { kind: 'left', key: held.key, birthMs: held.birthMs });
  }

  /** From timers and listeners, where nobody catches: a broker with a lower limit may refuse what the first one took. */
  #repeat(held: Held, to: string): void {
    this.#link.guard(held.key, () => this.#announce(held, to));
  }

  #announce(held: Held, to: string): void {
    const { key, birthMs, ttlMs, value } = held;
    this.#link.send(to, { kind: 'lease', key, birthMs, ttlMs, data: value });
  }

  /** A watcher that has just come gets all leases at once. */
  #answerQuestions(): void {
    this.#stopListening ??= this.#link.listen(addresses.leaseHolders, (envelope, from) => {
      if (envelope?.kind !== 'who' || !from) return;
      for (const held of this.#held.values()) {
        if (isUnder(envelope.prefix, held.key)) this.#repeat(held, addresses.leaseAnswers(from.incarnation));
      }
    });
  }
}

/** The value as it is now: its owner may go on changing it, and heartbeats repeat what was announced. */
function snapshot(value: unknown): unknown {
  return decode(encode(value));
}
