import { Engine, type EngineConfig } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import type { Logger, VllmMetrics } from '@skein/telemetry';
import { Canary } from './canary.ts';
import type { Formation } from './formation.ts';
import { serveKVEvents } from './kv-events.ts';
import type { KVEventsConfig } from './kv-events-config.ts';
import { observeEngine } from './observe-engine.ts';
import type { RequestSpans } from './request-spans.ts';

export interface ReplicaOptions {
  readonly index: number;
  readonly engine: EngineConfig;
  readonly bus: MessageBus;
  readonly group: string;
  readonly numReplicas: number;
  /** Null: on the bus alone. */
  readonly kvEvents: KVEventsConfig | null;
  readonly metrics: VllmMetrics;
  readonly spans: RequestSpans | null;
  readonly logger: Logger;
}

/** One data-parallel copy of the model: the engine that plans for it, and what is told of it. */
export class Replica implements AsyncDisposable {
  readonly index: number;
  readonly engine: Engine;
  readonly metrics: VllmMetrics;
  readonly #canary: Canary;
  readonly #owned: AsyncDisposableStack;

  private constructor({ index, metrics }: ReplicaOptions, { engine, canary, owned }: Parts) {
    this.index = index;
    this.metrics = metrics;
    this.engine = engine;
    this.#canary = canary;
    this.#owned = owned;
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    const { index, bus, group, numReplicas, metrics, spans, logger } = options;
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
      numReplicas,
      zmq: options.kvEvents,
      logger,
    });
    stack.use(kvEvents);
    const canary = new Canary(engine);
    stack.defer(() => canary.close());
    return new Replica(options, { engine, canary, owned: stack.move() });
  }

  /** A formation has given the engine its executor. */
  formed(): void {
    void this.#canary.beat();
  }

  /** Why it cannot be counted on, whose formation is this; null when it can. */
  problem({ current: { state, detail } }: Pick<Formation, 'current'>): string | null {
    if (state === 'ready') return this.#canary.problem();
    return `the group is ${state}${detail === '' ? '' : `: ${detail}`}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

interface Parts {
  readonly engine: Engine;
  readonly canary: Canary;
  readonly owned: AsyncDisposableStack;
}
