import { createServer, type Server, type Socket } from 'node:net';
import { acceptProof } from '@skein/message-bus';
import { FormationError } from '../errors.ts';
import { LENGTH_BYTES, MESSAGE_BYTES_MAX, PROBE_PURPOSE } from './probe-wire.ts';

const CONNECTIONS_MAX = 4096;
const HANDSHAKE_MS = 3000;

/** Answers probes on one address, on a port that the kernel chooses, as it does for ranks' listeners. */
export class ProbeServer {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>, port: number) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = port;
  }

  /** @throws FormationError ERR_PROBE_PORT. */
  static async start(address: string, groupKey: string | null): Promise<ProbeServer> {
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
      sockets.add(socket);
      // A broken connection is the dialling end's finding.
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      void acceptProof(socket, { groupKey, purpose: PROBE_PURPOSE, signal: AbortSignal.timeout(HANDSHAKE_MS) }).then(
        () => answer(socket),
        () => socket.destroy(),
      );
    });
    server.maxConnections = CONNECTIONS_MAX;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen({ host: address, port: 0 }, resolve);
    try {
      await promise;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      throw new FormationError('ERR_PROBE_PORT', `no port of ${address} can be listened on: ${code}`, { cause: error });
    }
    const bound = server.address();
    return new ProbeServer(server, sockets, typeof bound === 'object' && bound ? bound.port : 0);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

function answer(socket: Socket): void {
  const head = Buffer.alloc(LENGTH_BYTES);
  let headBytes = 0;
  let missing = 0;
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.byteLength;) {
      if (headBytes < LENGTH_BYTES) {
        const taken = chunk.copy(head, headBytes, at);
        headBytes += taken;
        at += taken;
        if (headBytes < LENGTH_BYTES) return;
        missing = head.readUInt32BE(0);
        if (missing > MESSAGE_BYTES_MAX) {
          socket.destroy();
          return;
        }
      }
      const taken = Math.min(missing, chunk.byteLength - at);
      missing -= taken;
      at += taken;
      if (missing > 0) return;
      headBytes = 0;
      socket.write(Buffer.from(head));
    }
  });
  socket.resume();
}
