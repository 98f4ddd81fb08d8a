import { setTimeout as delay } from 'node:timers/promises';
import { type NatsServer, natsToken, startNatsServer } from '@skein/message-bus';
import type { Logger } from '@skein/telemetry';

const RESTART_MS_MIN = 200;
const RESTART_MS_MAX = 2000;
/** A broker that lived this long is started again without a growing pause. */
const SETTLED_MS = 10_000;

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
  #closed = false;
  #pauseMs = RESTART_MS_MIN;

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
    this.#closed = true;
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
        if (performance.now() - startedMs > SETTLED_MS) this.#pauseMs = RESTART_MS_MIN;
        void this.#relaunch();
      },
    });
    this.#server = server;
    this.#port = server.port;
    // Closed while the new server started.
    if (this.#closed) await server.stop();
  }

  async #relaunch(): Promise<void> {
    while (!this.#closed) {
      await delay(this.#pauseMs);
      this.#pauseMs = Math.min(RESTART_MS_MAX, this.#pauseMs * 2);
      if (this.#closed) return;
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
