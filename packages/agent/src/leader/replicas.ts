import type { EngineClient, GenerateEvent, GenerateRequest } from '@skein/openai-server';
import type { Replica } from './replica.ts';

type Choosable = Pick<Replica, 'index' | 'engine'>;

/** Sends each request to the replica that it names, or to the one that is serving and has least to do: the fewest requests, then
 *  the fewest KV blocks in use. While none is serving they wait where the fewest wait. */
export class Replicas implements EngineClient {
  readonly #all: readonly Choosable[];

  /** @param all at least one, by index. */
  constructor(all: readonly Choosable[]) {
    this.#all = all;
  }

  generate(request: GenerateRequest, signal: AbortSignal): AsyncIterable<GenerateEvent> {
    return this.choose(request.replica).engine.generate(request, signal);
  }

  choose(wanted: number | null): Choosable {
    const named = wanted === null ? undefined : this.#all[wanted];
    if (named) return named;
    const loads = this.#all.map((replica) => {
      const { state, numRunning, numWaiting, kvCacheUsage } = replica.engine.stats();
      return { replica, order: [state === 'serving' ? 0 : 1, numRunning + numWaiting, kvCacheUsage] };
    });
    const [least] = loads.sort((a, b) => compare(a.order, b.order));
    if (!least) throw new RangeError('there is no replica');
    return least.replica;
  }
}

function compare(a: readonly number[], b: readonly number[]): number {
  return a.map((x, i) => x - (b[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
}
