import { chmod, unlink } from 'node:fs/promises';
import { connect as connectSocket, createServer, type Server } from 'node:net';
import type { Identity } from '@skein/protocol';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, QUEUED_BYTES_MAX } from './carrier.ts';
import { CarrierBus } from './carrier-bus.ts';
import { MessageBusError } from './errors.ts';
import { HubConnection } from './hub-connection.ts';
import { HubStar } from './hub-star.ts';
import { InProcessCarrier } from './in-process-carrier.ts';
import type { MessageBus } from './message-bus.ts';
import type { OnWarning } from './warning.ts';
import { WarningGate } from './warning.ts';

/** Where a hub listens: a TCP port, or a socket in the file system that only this user can open. */
export type HubAddress = { readonly host: string; readonly port: number } | { readonly path: string };

export interface LocalHubOptions {
  /** Port 0 takes a free one. Null: only buses in this process. */
  readonly listen: HubAddress | null;
  /** Every client proves it, and the hub proves it to every client. Null: no proof, for clients without a key only. */
  readonly groupKey: string | null;
  /** Largest frame; default 8 MiB. */
  readonly frameBytesMax?: number;
  /** Bytes that may wait for one client to read before it is cut off; default 64 MiB. */
  readonly queuedBytesMax?: number;
  readonly onWarning?: OnWarning;
}

/** Connections at once, with those that have not proved the key yet. */
const CLIENTS_MAX = 4096;

/** A small star that passes frames between the clients connected to it and buses in its own process. It is the bus where
 *  no broker is wanted, and the direct line between a leader and its ranks beside a broker. */
export class LocalHub implements AsyncDisposable {
  /** Where clients connect; null when it has no socket. */
  readonly address: HubAddress | null;
  readonly #options: LocalHubOptions;
  readonly #star = new HubStar();
  readonly #server: Server;
  readonly #connections = new Set<HubConnection>();
  readonly #inProcess = new Set<InProcessCarrier>();
  readonly #warnings: WarningGate;

  private constructor(options: LocalHubOptions, server: Server, address: HubAddress | null) {
    this.address = address;
    this.#options = options;
    this.#server = server;
    this.#warnings = new WarningGate(options.onWarning);
    server.on('connection', (socket) => {
      const connection: HubConnection = new HubConnection(socket, this.#star, {
        groupKey: options.groupKey,
        frameBytesMax: this.frameBytesMax,
        queuedBytesMax: options.queuedBytesMax ?? QUEUED_BYTES_MAX,
        onEnd: ({ code, reason, identity }) => {
          this.#connections.delete(connection);
          const who = identity?.name ?? 'a client that had not proved itself';
          if (code !== 'ERR_DISCONNECTED')
            this.#warnings.warn(code, `cut off ${who}: ${reason}`, { client: identity?.name });
        },
      });
      this.#connections.add(connection);
    });
  }

  /** @throws ERR_ADDRESS when it cannot listen there. */
  static async start(options: LocalHubOptions): Promise<LocalHub> {
    checkOptions(options);
    const server = createServer({ noDelay: true });
    server.maxConnections = CLIENTS_MAX;
    const address = options.listen && (await listen(server, options.listen));
    return new LocalHub(options, server, address);
  }

  get frameBytesMax(): number {
    return this.#options.frameBytesMax ?? FRAME_BYTES_MAX;
  }

  /** Who is connected over the socket. */
  get clients(): Identity[] {
    return [...this.#connections].flatMap(({ identity }) => identity ?? []);
  }

  /** A bus in this process, without a socket. */
  connect(identity: Identity, onWarning?: OnWarning): MessageBus {
    const carrier = new InProcessCarrier(this.#star, this.frameBytesMax, (closed) => this.#inProcess.delete(closed));
    this.#inProcess.add(carrier);
    return new CarrierBus(identity, carrier, onWarning ?? this.#options.onWarning);
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#server.listening) this.#server.close(() => resolve());
    else resolve();
    for (const connection of [...this.#connections]) connection.end('ERR_DISCONNECTED', 'the hub closes');
    for (const carrier of [...this.#inProcess]) await carrier.closeByHub();
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Starts a hub; see LocalHubOptions. */
export async function startLocalHub(options: LocalHubOptions): Promise<LocalHub> {
  return LocalHub.start(options);
}

function checkOptions({ groupKey, frameBytesMax }: LocalHubOptions): void {
  if (groupKey === '') throw new MessageBusError('ERR_GROUP_KEY', 'the group key is empty; null means none');
  if (frameBytesMax !== undefined && !(frameBytesMax >= FRAME_BYTES_MIN)) {
    throw new RangeError(`frameBytesMax is ${frameBytesMax}; it is ${FRAME_BYTES_MIN} at least`);
  }
}

async function listen(server: Server, address: HubAddress): Promise<HubAddress> {
  try {
    await tryListen(server, address);
  } catch (error) {
    const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    if (!isTaken || !('path' in address) || (await someoneListens(address.path))) throw cannotListen(address, error);
    // Left behind by a process that was killed.
    await unlink(address.path);
    await tryListen(server, address).catch((again: unknown) => {
      throw cannotListen(address, again);
    });
  }
  if ('path' in address) {
    await chmod(address.path, 0o600);
    return address;
  }
  const bound = server.address();
  return { host: address.host, port: typeof bound === 'object' && bound ? bound.port : address.port };
}

async function tryListen(server: Server, address: HubAddress): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(address, () => resolve());
  await promise.finally(() => server.off('error', reject));
}

async function someoneListens(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connectSocket({ path });
  socket.once('connect', () => resolve(true));
  socket.once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}

function cannotListen(address: HubAddress, error: unknown): MessageBusError {
  const place = 'path' in address ? address.path : `${address.host}:${address.port}`;
  const reason = error instanceof Error ? error.message : String(error);
  return new MessageBusError('ERR_ADDRESS', `the hub cannot listen on ${place}: ${reason}`, { cause: error });
}
