import { setTimeout as delay } from 'node:timers/promises';
import {
  availableFilter,
  type Endpoint,
  leastLoadedScorer,
  LoadEstimate,
  modelFilter,
  notFailedFilter,
  pickEndpoint,
  type PickRequest,
  type Reservation,
  Reservations,
} from '@skein/endpoint-picker';
import type { LeaseEvent, LeaseWatch, MessageBus } from '@skein/message-bus';
import { type Identity, type LeaderAdvert, leaderAdvertSchema, sameIdentity, subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';

export interface EndpointsOptions {
  readonly bus: Pick<MessageBus, 'watch'>;
  readonly log: Logger;
  readonly random: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** An ejection ends with the next advert, and after this at the latest. */
  readonly ejectionMs: number;
  /** Whether a leader answers on its own port. */
  readonly answers: (advert: LeaderAdvert) => Promise<boolean>;
}

export interface PickedEndpoint {
  readonly advert: LeaderAdvert;
  readonly reservation: Reservation;
  /** Aborts when the leader is known to be lost. */
  readonly lost: AbortSignal;
}

interface Member {
  from: Identity;
  advert: LeaderAdvert;
  ejectedUntilMs: number;
  readonly estimate: LoadEstimate;
  readonly lost: AbortController;
}

/** How long a report of other routers' load takes to count half. */
const loadHalfLifeMs = 5_000;
/** Between two questions to a leader whose lease has expired and which still has requests of ours. */
const askMs = 2_000;

/** The leaders this router knows of, as the bus tells them; the bus keeps the last-known ones while it is disconnected. */
export class Endpoints {
  readonly reservations: Reservations = new Reservations();
  readonly #options: EndpointsOptions;
  readonly #members = new Map<string, Member>();
  readonly #watch: LeaseWatch;
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(options: EndpointsOptions) {
    this.#options = options;
    this.#watch = options.bus.watch(subjects.leaders(), (event) => this.#onEvent(event));
  }

  get adverts(): LeaderAdvert[] {
    return [...this.#members.values()].map(({ advert }) => advert);
  }

  get counts(): { readonly ready: number; readonly notReady: number; readonly ejected: number } {
    const counts = { ready: 0, notReady: 0, ejected: 0 };
    for (const member of this.#members.values()) {
      if (this.#isEjected(member)) counts.ejected += 1;
      else if (isAvailable(member.advert)) counts.ready += 1;
      else counts.notReady += 1;
    }
    return counts;
  }

  /** Picks and reserves in one go. The reservation is the caller's to release. null: nobody can take it now. */
  pick(request: PickRequest): PickedEndpoint | null {
    const picked = pickEndpoint(this.#endpoints(), request, {
      filters: [availableFilter, modelFilter, notFailedFilter],
      scorers: [leastLoadedScorer],
      random: this.#options.random,
    });
    if (picked === null) return null;
    const { name, advert, lost } = picked;
    return { advert, reservation: this.reservations.reserve(name), lost };
  }

  /** Takes an endpoint that cannot be connected to out of service until it speaks again. */
  eject(advert: LeaderAdvert): void {
    for (const member of this.#members.values()) {
      // A newer advert than the one that was tried has ended the ejection already.
      if (member.advert === advert) member.ejectedUntilMs = this.#options.now() + this.#options.ejectionMs;
    }
  }

  /** Resolves at the next change of membership or after `ms`; rejects when `signal` aborts. */
  async changed(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(signal.reason as Error);
    const timer = setTimeout(resolve, ms);
    this.#waiting.add(resolve);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(resolve);
      signal.removeEventListener('abort', onAbort);
    }
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  *#endpoints(): Generator<Endpoint & Pick<PickedEndpoint, 'advert' | 'lost'>, void, undefined> {
    const nowMs = this.#options.now();
    for (const member of this.#members.values()) {
      const name = member.advert.group;
      yield {
        name,
        model: member.advert.model,
        available: isAvailable(member.advert) && !this.#isEjected(member),
        load: member.estimate.load(this.reservations.count(name), nowMs),
        advert: member.advert,
        lost: member.lost.signal,
      };
    }
  }

  #isEjected(member: Member): boolean {
    return member.ejectedUntilMs > this.#options.now();
  }

  #onEvent(event: LeaseEvent): void {
    const { key, value, from } = event.member;
    if (event.type === 'lost') {
      // A successor under the same key may have spoken already.
      const known = this.#members.get(key);
      if (known !== undefined && sameIdentity(known.from, from)) {
        this.#members.delete(key);
        if (event.reason === 'expired') void this.#askOut(known);
      }
      this.#options.log.info({ key, reason: event.reason }, 'leader lost');
    } else {
      const parsed = leaderAdvertSchema.safeParse(value);
      if (!parsed.success)
        return this.#options.log.warn(
          { key, problem: parsed.error.issues[0]?.path.join('.') },
          'leader advert refused',
        );
      this.#update(key, from, parsed.data);
    }
    for (const wake of this.#waiting) wake();
  }

  /** Unreachable is not dead: a leader whose lease has expired may have lost the broker and still answer its requests. So it
   *  is asked itself while it has any, and they are given up when it does not answer. */
  async #askOut({ advert, lost }: Member): Promise<void> {
    while (!this.#closed && this.reservations.count(advert.group) > 0) {
      if (!(await this.#options.answers(advert))) {
        this.#options.log.warn(
          { group: advert.group, url: advert.url },
          'leader does not answer; giving up its requests',
        );
        lost.abort(new Error('the leader no longer answers'));
        return;
      }
      await delay(askMs, undefined, { ref: false });
    }
  }

  #update(key: string, from: Identity, advert: LeaderAdvert): void {
    const known = this.#members.get(key);
    if (known === undefined) this.#options.log.info({ group: advert.group, url: advert.url }, 'leader found');
    const isSame = known !== undefined && sameIdentity(known.from, from);
    const member = isSame
      ? known
      : {
          from,
          advert,
          ejectedUntilMs: 0,
          estimate: known?.estimate ?? new LoadEstimate(loadHalfLifeMs),
          lost: new AbortController(),
        };
    member.advert = advert;
    member.ejectedUntilMs = 0;
    member.estimate.report({
      numRequests: advert.numRequestsRunning + advert.numRequestsWaiting,
      ownRequests: this.reservations.count(advert.group),
      nowMs: this.#options.now(),
    });
    this.#members.set(key, member);
  }
}

function isAvailable(advert: LeaderAdvert): boolean {
  return advert.ready && !advert.draining;
}
