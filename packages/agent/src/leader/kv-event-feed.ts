import type { KVCacheEvent } from '@skein/engine';
import { KVEventsError } from '../errors.ts';

const BATCH_MS = 10;
/** Blocks that may wait for one listener; one that falls further behind is cut off, and may start over. */
const WAITING_BLOCKS_MAX = 200_000;

export interface KVEventBatch {
  readonly sequence: number;
  /** Unix seconds. */
  readonly ts: number;
  readonly events: readonly KVCacheEvent[];
}

interface Listener {
  readonly batches: KVEventBatch[];
  numBlocks: number;
  isCutOff: boolean;
  wake: () => void;
}

/** Hands the engine's KV events to whoever listens, in batches with consecutive numbers. Without listeners they are dropped. */
export class KVEventFeed {
  readonly #snapshot: () => readonly KVCacheEvent[];
  readonly #listeners = new Set<Listener>();
  #pending: KVCacheEvent[] = [];
  /** Of the last batch. */
  #sequence = 0;
  #timer: NodeJS.Timeout | null = null;

  /** `snapshot`: all that is cached, as events. */
  constructor(snapshot: () => readonly KVCacheEvent[]) {
    this.#snapshot = snapshot;
  }

  push(events: readonly KVCacheEvent[]): void {
    if (this.#listeners.size === 0) return;
    this.#pending = this.#pending.concat(events);
    this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  /** Batches from here on, until `signal`. With `snapshot` the first one says to start over and what is cached.
   *  @throws KVEventsError ERR_KV_EVENTS when the listener has fallen behind: events are lost to it. */
  async *listen(
    signal: AbortSignal,
    options: { readonly snapshot: boolean },
  ): AsyncGenerator<KVEventBatch, void, undefined> {
    // What is pending is in the snapshot.
    this.#flush();
    const listener: Listener = { batches: [], numBlocks: 0, isCutOff: false, wake: () => {} };
    this.#listeners.add(listener);
    const onAbort = (): void => listener.wake();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      if (options.snapshot) {
        const events: readonly KVCacheEvent[] = [{ type: 'AllBlocksCleared' }, ...this.#snapshot()];
        yield { sequence: this.#sequence, ts: Date.now() / 1000, events };
      }
      while (!signal.aborted) {
        const batch = listener.batches.shift();
        if (batch) {
          listener.numBlocks -= numBlocksOf(batch);
          yield batch;
          continue;
        }
        if (listener.isCutOff)
          throw new KVEventsError('ERR_KV_EVENTS', `more than ${WAITING_BLOCKS_MAX} block events waited; listen again`);
        const { promise, resolve } = Promise.withResolvers<void>();
        listener.wake = resolve;
        await promise;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#listeners.delete(listener);
    }
  }

  close(): void {
    if (this.#timer) clearTimeout(this.#timer);
  }

  #flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#pending.length === 0) return;
    this.#sequence += 1;
    const batch = { sequence: this.#sequence, ts: Date.now() / 1000, events: this.#pending };
    this.#pending = [];
    for (const listener of this.#listeners) {
      listener.numBlocks += numBlocksOf(batch);
      if (listener.numBlocks > WAITING_BLOCKS_MAX) {
        listener.isCutOff = true;
        this.#listeners.delete(listener);
      } else listener.batches.push(batch);
      listener.wake();
    }
  }
}

function numBlocksOf({ events }: KVEventBatch): number {
  return events.reduce((n, event) => n + (event.type === 'AllBlocksCleared' ? 1 : event.blockHashes.length), 0);
}
