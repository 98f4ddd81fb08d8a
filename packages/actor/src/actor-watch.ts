import type { LeaseEvent, MessageBus } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import { actorKey, deathSchema, deathSubject } from './actor-wire.ts';
import type { ActorDeath } from './errors.ts';

/** A watch that nobody uses is kept this long, so that a run of calls costs one. */
const LINGER_MS = 5000;

const LEASE_ENDS = { left: 'was closed by its host', expired: 'was not heard of', replaced: 'was replaced' } as const;

/** Follows the life of the actor at one subject, by its lease and by what the owner of its process tells at once. */
export class ActorWatch {
  readonly #bus: MessageBus;
  readonly #subject: string;
  readonly #deathListeners = new Set<(death: ActorDeath) => void>();
  readonly #turnListeners = new Set<() => void>();
  #stops: readonly { close(): void }[] = [];
  #numUsers = 0;
  #linger: NodeJS.Timeout | null = null;
  #host: Identity | null = null;
  #lastDeath: ActorDeath | null = null;

  readonly #onClosed: () => void;

  constructor(bus: MessageBus, subject: string, onClosed: () => void) {
    this.#bus = bus;
    this.#subject = subject;
    this.#onClosed = onClosed;
  }

  /** The incarnation that hosts the actor, as far as has been heard. Null: none, or not heard of yet. */
  get host(): Identity | null {
    return this.#host;
  }

  /** Its owner has told that it starts another. */
  get isRestarting(): boolean {
    return this.#host === null && this.#lastDeath?.restarts === true;
  }

  /** Its owner has told that there will be no other. */
  get isGone(): boolean {
    return this.#host === null && this.#lastDeath?.restarts === false;
  }

  /** Keeps the watch open until `leave`. */
  enter(): void {
    if (this.#linger) clearTimeout(this.#linger);
    this.#linger = null;
    if (this.#stops.length === 0) this.#open();
    this.#numUsers += 1;
  }

  leave(): void {
    this.#numUsers -= 1;
    if (this.#numUsers === 0) this.#linger = setTimeout(() => this.#close(), LINGER_MS).unref();
  }

  /** @returns what stops it. */
  onDeath(listener: (death: ActorDeath) => void): () => void {
    this.#deathListeners.add(listener);
    return () => this.#deathListeners.delete(listener);
  }

  /** Waits until a death of the actor is told, at most `deadlineMs`. */
  async death(deadlineMs: number, signal: AbortSignal): Promise<void> {
    await heard((listener) => this.onDeath(listener), deadlineMs, signal);
  }

  /** Waits until somebody hosts the actor, at most `deadlineMs`, or nobody ever will. @returns whether somebody does. */
  async hosted(deadlineMs: number, signal: AbortSignal): Promise<boolean> {
    if (this.#host === null && !this.isGone) await heard((listener) => this.#onTurn(listener), deadlineMs, signal);
    return this.#host !== null;
  }

  #onTurn(listener: () => void): () => void {
    this.#turnListeners.add(listener);
    return () => this.#turnListeners.delete(listener);
  }

  #open(): void {
    const key = actorKey(this.#subject);
    this.#stops = [
      // The watch also sees the actors below this subject.
      this.#bus.watch(key, (event) => event.member.key === key && this.#onLease(event)),
      this.#bus.subscribe(deathSubject(this.#subject), ({ data }) => {
        const death = deathSchema.safeParse(data);
        if (death.success) this.#onTold(death.data);
      }),
    ];
  }

  #close(): void {
    for (const stop of this.#stops) stop.close();
    this.#onClosed();
  }

  #onLease(event: LeaseEvent): void {
    const { from } = event.member;
    // Its owner told already, or a heartbeat was late.
    if (from.incarnation === this.#lastDeath?.identity.incarnation) return;
    if (event.type === 'lost') {
      this.#die({ identity: from, cause: LEASE_ENDS[event.reason], restarts: null });
      return;
    }
    this.#host = from;
    this.#turn();
  }

  #onTold(death: ActorDeath): void {
    const { incarnation } = death.identity;
    if (incarnation === this.#lastDeath?.identity.incarnation) {
      this.#lastDeath = death;
      this.#turn();
    } else if (this.#host === null || this.#host.incarnation === incarnation) this.#die(death);
  }

  #die(death: ActorDeath): void {
    this.#host = null;
    this.#lastDeath = death;
    for (const listener of [...this.#deathListeners]) listener(death);
    this.#turn();
  }

  /** What is known of the host has changed. */
  #turn(): void {
    if (this.#host !== null || this.isGone) for (const listener of [...this.#turnListeners]) listener();
  }
}

/** Waits for the first call of what `listen` is given, at most `deadlineMs`, or for `signal`. */
async function heard(
  listen: (listener: () => void) => () => void,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const listener = (): void => resolve();
  const timer = setTimeout(listener, deadlineMs);
  const stop = listen(listener);
  signal.addEventListener('abort', listener, { once: true });
  await promise;
  clearTimeout(timer);
  stop();
  signal.removeEventListener('abort', listener);
}

/** Handles come and go with every call; they share one watch for each bus and subject. */
const watches = new WeakMap<MessageBus, Map<string, ActorWatch>>();

/** Watches the actor at `subject` until disposed of. What is sent on the bus after this call is answered by a host whose
 *  lease is known by then: hosts hear the watch's question first. @throws what `watch` of the bus throws. */
export function followActor(bus: MessageBus, subject: string): Disposable & { readonly watch: ActorWatch } {
  const ofBus = watches.get(bus) ?? new Map<string, ActorWatch>();
  const watch = ofBus.get(subject) ?? new ActorWatch(bus, subject, () => ofBus.delete(subject));
  watch.enter();
  watches.set(bus, ofBus.set(subject, watch));
  return { watch, [Symbol.dispose]: () => watch.leave() };
}

/** Calls `onDeath` each time an incarnation of the actor at `subject` is gone. @returns what stops the watch. */
export function watchActor(bus: MessageBus, subject: string, onDeath: (death: ActorDeath) => void): () => void {
  const following = followActor(bus, subject);
  const stop = following.watch.onDeath(onDeath);
  return () => {
    stop();
    following[Symbol.dispose]();
  };
}
