import { Engine, type EngineConfig } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import type { Logger, VllmMetrics } from '@skein/telemetry';
import { Canary } from './canary.ts';
import { Formation, type FormationOptions } from './formation.ts';
import { serveKVEvents } from './kv-events.ts';
import type { KVEventsConfig } from './kv-events-config.ts';
import { observeEngine } from './observe-engine.ts';
import type { RequestSpans } from './request-spans.ts';

export interface ReplicaOptions {
  readonly index: number;
  readonly engine: EngineConfig;
  readonly formation: Omit<FormationOptions, 'engine' | 'onFormed' | 'replica' | 'logger'>;
  readonly bus: MessageBus;
  /** Null: on the bus alone. */
  readonly kvEvents: KVEventsConfig | null;
  readonly metrics: VllmMetrics;
  readonly spans: RequestSpans | null;
  readonly logger: Logger;
}

/** One data-parallel copy of the model: the ranks that compute it, the engine that plans for them, and what is told of both. */
export class Replica implements AsyncDisposable {
  readonly index: number;
  readonly engine: Engine;
  readonly formation: Formation;
  readonly metrics: VllmMetrics;
  /** Ends when it is disposed of. Rejects when ranks with these options can never be a group. */
  readonly forming: Promise<void>;
  readonly #canary: Canary;
  readonly #owned: AsyncDisposableStack;

  private constructor(options: ReplicaOptions, parts: Pick<Replica, 'engine' | 'formation' | 'forming'> & Parts) {
    this.index = options.index;
    this.metrics = options.metrics;
    this.engine = parts.engine;
    this.formation = parts.formation;
    this.forming = parts.forming;
    this.#canary = parts.canary;
    this.#owned = parts.owned;
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    const { index, bus, metrics, spans, logger } = options;
    const { group } = options.formation;
    await using stack = new AsyncDisposableStack();
    const engine = new Engine(options.engine, {
      observer: {
        ...observeEngine({ metrics, canaryRunning: () => canary.running, spans, logger }),
        onKVCacheEvents: (events) => kvEvents.push(events),
      },
    });
    stack.defer(() => engine.close());
    const kvEvents = await serveKVEvents({
      engine,
      bus,
      group,
      replica: index,
      numReplicas: options.formation.input.shape.replicas,
      zmq: options.kvEvents,
      logger,
    });
    stack.use(kvEvents);
    const canary = new Canary(engine);
    stack.defer(() => canary.close());
    const onFormed = (): void => void canary.beat();
    const formation = new Formation({ ...options.formation, replica: index, engine, logger, onFormed });
    const stopping = new AbortController();
    const forming = formation.run(stopping.signal);
    // Whoever awaits it later hears of a failure all the same.
    forming.catch(() => {});
    stack.defer(async () => {
      stopping.abort();
      await forming.catch(() => {});
    });
    return new Replica(options, { engine, formation, forming, canary, owned: stack.move() });
  }

  /** Why it cannot be counted on; null when it can. */
  problem(): string | null {
    const { state, detail } = this.formation.current;
    if (state === 'ready') return this.#canary.problem();
    return `the group is ${state}${detail === '' ? '' : `: ${detail}`}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

interface Parts {
  readonly canary: Canary;
  readonly owned: AsyncDisposableStack;
}
