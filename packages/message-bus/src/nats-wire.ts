import { errors, type Msg, type NatsConnection, type Subscription } from '@nats-io/nats-core';
import { connect, type NodeConnectionOptions } from '@nats-io/transport-node';
import { FRAME_BYTES_MIN, QUEUED_BYTES_MAX } from './carrier.ts';
import { MessageBusError } from './errors.ts';
import type { Wire, WireEvents } from './reconnecting-carrier.ts';

const CONNECT_MS_MAX = 2000;
// A broker that is stopped keeps its sockets open; only unanswered pings tell. Noticed within 3 s.
const PING_MS = 1000;
const PINGS_OUT_MAX = 2;
/** After so many bytes the broker is asked whether it has read them. */
const PROBE_BYTES = 1_048_576;

const NO_RESPONDERS = 503;

/** One connection to a NATS broker. The library's own reconnection is off: it would hold what is published meanwhile and
 *  send it late, and when the broker stands still with our socket full it waits for that socket to drain. */
export class NatsWire implements Wire {
  readonly frameBytesMax: number;
  readonly #connection: NatsConnection;
  readonly #events: WireEvents;
  readonly #subscriptions = new Map<string, Subscription>();
  #probed = 0;
  #unprobed = 0;

  private constructor(connection: NatsConnection, frameBytesMax: number, events: WireEvents) {
    this.#connection = connection;
    this.#events = events;
    this.frameBytesMax = frameBytesMax;
    void this.#follow();
    void connection
      .closed()
      .then((error) => events.onLost(error instanceof Error ? error.message : 'the broker closed it'));
  }

  /** @throws ERR_GROUP_KEY when the broker refuses the credentials. */
  static async dial(options: NodeConnectionOptions, events: WireEvents): Promise<NatsWire> {
    let connection;
    try {
      connection = await connect({
        ...options,
        reconnect: false,
        waitOnFirstConnect: false,
        timeout: CONNECT_MS_MAX,
        pingInterval: PING_MS,
        maxPingOut: PINGS_OUT_MAX,
        noAsyncTraces: true,
      });
    } catch (error) {
      throw connectError(error);
    }
    const max = connection.info?.max_payload ?? 0;
    if (max < FRAME_BYTES_MIN || connection.info?.headers !== true) {
      await connection.close();
      throw new MessageBusError(
        'ERR_NATS_SERVER',
        `the broker takes messages of ${max} bytes; set its max_payload to ${FRAME_BYTES_MIN} at least, and let headers on`,
        { details: { maxPayload: max } },
      );
    }
    return new NatsWire(connection, max, events);
  }

  publish(subject: string, frame: Uint8Array, replyTo: string | undefined): boolean {
    if (this.#connection.isClosed() || this.#probed + this.#unprobed > QUEUED_BYTES_MAX) return false;
    this.#connection.publish(subject, frame, replyTo === undefined ? {} : { reply: replyTo });
    this.#unprobed += frame.byteLength;
    if (this.#unprobed >= PROBE_BYTES) this.#probe();
    return true;
  }

  subscribe(pattern: string): void {
    const callback = (error: Error | null, message: Msg): void => {
      if (error) return;
      const { subject, data, headers } = message;
      const isNobody = data.byteLength === 0 && headers?.code === NO_RESPONDERS;
      this.#events.onFrame(pattern, subject, isNobody ? null : data);
    };
    this.#subscriptions.set(pattern, this.#connection.subscribe(pattern, { callback }));
  }

  unsubscribe(pattern: string): void {
    if (!this.#connection.isClosed()) this.#subscriptions.get(pattern)?.unsubscribe();
    this.#subscriptions.delete(pattern);
  }

  async flush(): Promise<void> {
    try {
      await this.#connection.flush();
    } catch (error) {
      throw new MessageBusError('ERR_DISCONNECTED', 'the broker was lost', { cause: error });
    }
  }

  async close(): Promise<void> {
    discard(this.#connection);
    await this.#connection.close();
  }

  /** The client library keeps what the broker does not read without limit or sign; a round trip per MiB shows it. */
  #probe(): void {
    const bytes = this.#unprobed;
    this.#probed += bytes;
    this.#unprobed = 0;
    this.#connection.flush().then(
      () => {
        this.#probed -= bytes;
      },
      () => {},
    );
  }

  async #follow(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === 'staleConnection') this.#events.onLost(`no answer to ${PINGS_OUT_MAX} pings`);
      else if (status.type === 'disconnect') this.#events.onLost('the broker closed the connection');
    }
  }
}

function connectError(error: unknown): MessageBusError {
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof errors.AuthorizationError) {
    return new MessageBusError('ERR_GROUP_KEY', 'the broker refuses these credentials: the group key differs', {
      cause: error,
    });
  }
  return new MessageBusError('ERR_DISCONNECTED', reason, { cause: error });
}

/** Drops the socket at once. `close` first waits until the broker has read everything, which a stopped one never does. */
function discard(connection: NatsConnection): void {
  const { protocol } = connection as { protocol?: { transport?: { discard?: () => void } } };
  protocol?.transport?.discard?.();
}
