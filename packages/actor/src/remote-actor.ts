import { setTimeout as delay } from 'node:timers/promises';
import { type MessageBus, MessageBusError } from '@skein/message-bus';
import { SkeinError } from '@skein/protocol';
import { type ActorWatch, followActor } from './actor-watch.ts';
import { ActorCallError, actorDied, ActorDiedError, ActorUnavailableError, RemoteError } from './errors.ts';

export interface CallOptions {
  /** How long the answer may take, all retries together. Default 30 s. Streams have no end. */
  readonly deadlineMs?: number;
  /** Calls again when the actor died or cannot be reached; a call may then be carried out twice. Default 0. */
  readonly maxTaskRetries?: number;
  /** Streams: silence after which the actor is given up. Default 10 s. */
  readonly idleMs?: number;
  /** Streams: items the actor may send ahead of their reader. Default 64. */
  readonly credit?: number;
}

export interface Call {
  readonly method: string;
  readonly argument: unknown;
  /** Class and method, for messages. */
  readonly what: string;
}

const DEADLINE_MS = 30_000;
const IDLE_MS = 10_000;
/** Before a retry: the news of a death may be on its way. */
const RETRY_MS = 100;
/** How long the news of a death may take from the owner of the process. */
const TOLD_MS = 250;

/** The actor at one subject as its callers see it: what the bus says becomes died, unavailable, or the method's own error,
 *  and a death ends what is open at once. */
export class RemoteActor {
  readonly bus: MessageBus;
  readonly subject: string;

  constructor(bus: MessageBus, subject: string) {
    this.bus = bus;
    this.subject = subject;
  }

  /** @throws RemoteError, ActorDiedError, ActorUnavailableError, ActorCallError. */
  async call(call: Call, options: CallOptions, caller: AbortSignal): Promise<unknown> {
    using following = followActor(this.bus, this.subject);
    const { watch } = following;
    const deadlineAt = performance.now() + (options.deadlineMs ?? DEADLINE_MS);
    const leftMs = (): number => Math.max(1, Math.ceil(deadlineAt - performance.now()));
    for (let retriesLeft = options.maxTaskRetries ?? 0; ; retriesLeft -= 1) {
      using end = this.#callSignal(watch, caller);
      try {
        const to = `${this.subject}.${call.method}`;
        return await this.bus.request(to, call.argument, { deadlineMs: leftMs(), signal: end.signal });
      } catch (reason) {
        // The broker knows at once that a process is gone; what became of the actor is on its way.
        if (isUnanswered(reason) && watch.host !== null) await watch.death(Math.min(TOLD_MS, leftMs()), end.signal);
        const error = translate(reason, { what: call.what, signal: end.signal, watch });
        const isLost = error instanceof ActorDiedError || error instanceof ActorUnavailableError;
        if (!isLost || retriesLeft <= 0 || watch.isGone) throw error;
        await delay(Math.min(RETRY_MS, leftMs()));
        if (!(await watch.hosted(leftMs(), caller)) || performance.now() >= deadlineAt) throw error;
      }
    }
  }

  /** Opens when its first item is asked for; leaving the loop cancels it. Errors as of `call`. */
  async *stream(call: Call, { idleMs = IDLE_MS, credit }: CallOptions): AsyncGenerator<unknown> {
    using following = followActor(this.bus, this.subject);
    const { watch } = following;
    using end = this.#callSignal(watch, null);
    const options = { idleMs, signal: end.signal, ...(credit === undefined ? {} : { credit }) };
    try {
      yield* this.bus.openStream(`${this.subject}.${call.method}`, call.argument, options);
    } catch (error) {
      throw translate(error, { what: call.what, signal: end.signal, watch });
    }
  }

  /** For one call: aborted with ActorDiedError when the actor dies, and when the caller aborts. */
  #callSignal(watch: ActorWatch, caller: AbortSignal | null): Disposable & { readonly signal: AbortSignal } {
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(caller?.reason);
    const stop = watch.onDeath((death) => controller.abort(actorDied(this.subject, death)));
    caller?.addEventListener('abort', onAbort, { once: true });
    if (caller?.aborted) onAbort();
    return {
      signal: controller.signal,
      [Symbol.dispose]: () => {
        stop();
        caller?.removeEventListener('abort', onAbort);
      },
    };
  }
}

function isUnanswered(error: unknown): boolean {
  return error instanceof MessageBusError && error.code === 'ERR_NO_RESPONDER';
}

/** What the bus says of a call, in an actor's terms. Only the bus's own errors speak of the actor: one with the same code
 *  that the method threw is about something else. */
function translate(
  error: unknown,
  { what, signal, watch }: { readonly what: string; readonly signal: AbortSignal; readonly watch: ActorWatch },
): Error {
  if (!(error instanceof SkeinError))
    return error instanceof Error ? error : new RemoteError('ERR_INTERNAL', String(error));
  const { code, message, details } = error;
  const options = { cause: error, details };
  if (!(error instanceof MessageBusError)) return new RemoteError(code, message, options);
  switch (error.code) {
    case 'ERR_ABORTED':
      if (signal.reason instanceof ActorDiedError) return signal.reason;
      return new ActorCallError('ERR_ACTOR_CANCELLED', `${what} was cancelled by its caller`, options);
    case 'ERR_NO_RESPONDER':
      if (signal.reason instanceof ActorDiedError) return signal.reason;
      // A host whose lease goes on, or that is being started, has only lost its connection for a while.
      if (watch.host !== null || watch.isRestarting)
        return new ActorUnavailableError('ERR_ACTOR_UNAVAILABLE', `${what}: its host is not there yet`, options);
      return new ActorDiedError('ERR_ACTOR_DIED', `${what}: no process hosts this actor`, options);
    case 'ERR_DEADLINE':
    case 'ERR_DISCONNECTED':
      return new ActorUnavailableError('ERR_ACTOR_UNAVAILABLE', `${what}: ${message}`, options);
    default:
      return new ActorCallError(code, `${what}: ${message}`, options);
  }
}
