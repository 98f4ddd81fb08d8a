import { natsToken, startNatsServer } from '@skein/message-bus';
import type { Logger } from '@skein/telemetry';

const RESTART_MS = 200;

export interface BrokerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly groupKey: string | null;
  readonly logger: Logger;
}

/** A nats-server of our own, kept running on its port until closed. */
export class Broker {
  readonly #options: BrokerOptions;
  #server: Awaited<ReturnType<typeof startNatsServer>>;
  #closed = false;

  static async start(options: BrokerOptions): Promise<Broker> {
    return new Broker(options, await launch(options, options.port));
  }

  private constructor(options: BrokerOptions, server: Awaited<ReturnType<typeof startNatsServer>>) {
    this.#options = options;
    this.#server = server;
    void this.#keep();
  }

  get port(): number {
    return this.#server.port;
  }

  get pid(): number {
    return this.#server.pid;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#server.stop();
  }

  async #keep(): Promise<void> {
    const { logger } = this.#options;
    const { port } = this.#server;
    for (;;) {
      const { code, signal } = await this.#server.exited;
      if (this.#closed) return;
      logger.warn({ exitCode: code, signal }, `nats-server on port ${port} ended; starting it again`);
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
        if (this.#closed) return;
        try {
          this.#server = await launch(this.#options, port);
          break;
        } catch (error) {
          logger.error(`nats-server does not start: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
      // `close` may have run while the new server started.
      if (this.#closed) return void (await this.#server.stop());
    }
  }
}

function launch({ host, groupKey }: BrokerOptions, port: number): ReturnType<typeof startNatsServer> {
  return startNatsServer({ host, port, token: groupKey === null ? null : natsToken(groupKey), maxPayloadBytes: 8 << 20 });
}
