import { setTimeout as delay } from 'node:timers/promises';
import { type NatsServer, natsToken, RestartPause, startNatsServer } from '@skein/message-bus';
import type { Logger } from '@skein/telemetry';

export interface BrokerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly groupKey: string | null;
  readonly logger: Logger;
}

/** A nats-server of our own, kept running on its port until closed. */
export class Broker implements AsyncDisposable {
  readonly #options: BrokerOptions;
  #server: NatsServer | null = null;
  #port: number;
  readonly #closing = new AbortController();
  readonly #pause = new RestartPause();

  static async start(options: BrokerOptions): Promise<Broker> {
    const broker = new Broker(options);
    await broker.#launch();
    return broker;
  }

  private constructor(options: BrokerOptions) {
    this.#options = options;
    this.#port = options.port;
  }

  get port(): number {
    return this.#port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#server?.stop();
  }

  async #launch(): Promise<void> {
    const { host, groupKey, logger } = this.#options;
    const startedMs = performance.now();
    const server = await startNatsServer({
      host,
      port: this.#port,
      token: groupKey === null ? null : natsToken(groupKey),
      onExit: (reason) => {
        logger.warn(`nats-server on port ${this.#port} ${reason}; starting it again`);
        void this.#relaunch(performance.now() - startedMs);
      },
    });
    this.#server = server;
    this.#port = server.port;
    // Closed while the new server started.
    if (this.#closing.signal.aborted) await server.stop();
  }

  async #relaunch(livedMs: number): Promise<void> {
    const { signal } = this.#closing;
    for (let pauseMs = this.#pause.next(livedMs); ; pauseMs = this.#pause.next(0)) {
      await delay(pauseMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        return await this.#launch();
      } catch (error) {
        this.#options.logger.error(
          `nats-server does not start: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }
}
