import type { Socket } from 'node:net';
import type { Identity } from '@skein/protocol';
import { CorkedSocket } from './corked-socket.ts';
import type { MessageBusErrorCode } from './errors.ts';
import {
  controlFrame,
  FRAME_OVERHEAD_BYTES,
  FrameReader,
  frameTypes,
  readSubjects,
  subjectFrameHead,
} from './hub-frame.ts';
import {
  authSchema,
  decodeHandshake,
  encodeHandshake,
  HANDSHAKE_FRAME_BYTES_MAX,
  HANDSHAKE_VERSION,
  newNonce,
  proof,
  proves,
} from './hub-handshake.ts';
import type { HubPeer, HubStar } from './hub-star.ts';
import { isPattern, isSubject } from './subject.ts';

const HANDSHAKE_MS_MAX = 3000;
const SWEEP_MS = 2000;
const SILENT_SWEEPS_MAX = 5;
const PATTERNS_MAX = 16_384;

export interface HubConnectionOptions {
  readonly groupKey: string | null;
  readonly frameBytesMax: number;
  readonly queuedBytesMax: number;
  /** Once, with why the client is gone; `identity` is null before it proved itself. */
  readonly onEnd: (end: {
    readonly code: MessageBusErrorCode;
    readonly reason: string;
    readonly identity: Identity | null;
  }) => void;
}

/** The hub's end of one client's connection. */
export class HubConnection implements HubPeer {
  readonly #socket: Socket;
  readonly #star: HubStar;
  readonly #options: HubConnectionOptions;
  readonly #output: CorkedSocket;
  readonly #reader = new FrameReader(HANDSHAKE_FRAME_BYTES_MAX);
  readonly #nonce = newNonce();
  readonly #patterns = new Set<string>();
  #identity: Identity | null = null;
  #timer: NodeJS.Timeout;
  #silentSweeps = 0;
  #ended = false;

  constructor(socket: Socket, star: HubStar, options: HubConnectionOptions) {
    this.#socket = socket;
    this.#star = star;
    this.#options = options;
    this.#output = new CorkedSocket(socket, options.queuedBytesMax);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', (error) => this.end('ERR_DISCONNECTED', error.message));
    socket.on('close', () => this.end('ERR_DISCONNECTED', 'the client closed the connection'));
    this.#timer = setTimeout(
      () => this.end('ERR_DISCONNECTED', `no handshake within ${HANDSHAKE_MS_MAX} ms`),
      HANDSHAKE_MS_MAX,
    );
    const hello = { version: HANDSHAKE_VERSION, nonce: this.#nonce, frameBytesMax: options.frameBytesMax } as const;
    this.#output.write([controlFrame(frameTypes.hello, encodeHandshake(hello))]);
  }

  get identity(): Identity | null {
    return this.#identity;
  }

  deliver(wire: readonly Uint8Array[]): void {
    if (this.#ended || this.#output.write(wire)) return;
    const queued = this.#socket.writableLength;
    this.end(
      'ERR_SLOW_READER',
      `${queued} bytes were waiting for it to read; the limit is ${this.#options.queuedBytesMax}`,
    );
  }

  end(code: MessageBusErrorCode, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#star.remove(this, this.#patterns);
    this.#socket.destroy();
    this.#options.onEnd({ code, reason, identity: this.#identity });
  }

  #onData(chunk: Buffer): void {
    this.#silentSweeps = 0;
    const reason = this.#reader.push(chunk, (type, body) => {
      if (this.#ended) return;
      const fault = this.#identity ? this.#onFrame(type, body) : this.#onAuth(type, body);
      if (fault !== null) this.end('ERR_MALFORMED', fault);
    });
    if (reason !== null) this.end('ERR_MALFORMED', reason);
  }

  /** @returns what was wrong with the frame, or null. */
  #onFrame(type: number, body: Buffer): string | null {
    switch (type) {
      case frameTypes.publish:
        return this.#onPublish(body);
      case frameTypes.subscribe:
      case frameTypes.unsubscribe: {
        const pattern = readSubjects(body, 1)?.subjects[0];
        if (pattern === undefined || !isPattern(pattern)) return 'a bad pattern';
        return type === frameTypes.subscribe ? this.#subscribe(pattern) : this.#unsubscribe(pattern);
      }
      case frameTypes.ping:
        this.deliver([controlFrame(frameTypes.pong)]);
        return null;
      case frameTypes.pong:
        return null;
      default:
        return `a frame of unknown type ${type}`;
    }
  }

  #onPublish(body: Buffer): string | null {
    const read = readSubjects(body, 2);
    const [subject, replyTo] = read?.subjects ?? [];
    if (!read || subject === undefined || replyTo === undefined) return 'a frame cut short';
    if (!isSubject(subject) || (replyTo !== '' && !isSubject(replyTo))) return 'a bad subject';
    if (read.rest.byteLength > this.#options.frameBytesMax) return `a message of ${read.rest.byteLength} bytes`;
    if (!this.#star.publish(subject, read.rest) && replyTo !== '') {
      this.deliver([subjectFrameHead(frameTypes.noResponder, [replyTo], 0)]);
    }
    return null;
  }

  #subscribe(pattern: string): string | null {
    if (this.#patterns.size >= PATTERNS_MAX) return `more than ${PATTERNS_MAX} subscriptions`;
    this.#patterns.add(pattern);
    this.#star.subscribe(pattern, this);
    return null;
  }

  #unsubscribe(pattern: string): null {
    this.#patterns.delete(pattern);
    this.#star.unsubscribe(pattern, this);
    return null;
  }

  #onAuth(type: number, body: Buffer): string | null {
    const auth = type === frameTypes.auth ? decodeHandshake(authSchema, body) : null;
    if (!auth) return 'no handshake of this version';
    const transcript = { hubNonce: this.#nonce, clientNonce: auth.nonce, identity: auth.identity };
    if (!proves(auth.proof, proof(this.#options.groupKey, 'client', transcript))) {
      const refused = { code: 'ERR_GROUP_KEY', message: 'the group key differs' };
      this.#socket.end(controlFrame(frameTypes.refused, encodeHandshake(refused)), () => {
        this.end('ERR_GROUP_KEY', `${auth.identity.name} has another group key`);
      });
      return null;
    }
    clearTimeout(this.#timer);
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
    this.#identity = auth.identity;
    this.#reader.frameBytesMax = this.#options.frameBytesMax + FRAME_OVERHEAD_BYTES;
    const welcome = { proof: proof(this.#options.groupKey, 'hub', transcript) };
    this.deliver([controlFrame(frameTypes.welcome, encodeHandshake(welcome))]);
    return null;
  }

  /** Clients ping every second; one that does not is stopped, or behind a broken network. */
  #sweep(): void {
    this.#silentSweeps += 1;
    if (this.#silentSweeps > SILENT_SWEEPS_MAX) {
      this.end('ERR_DISCONNECTED', `the client was silent for ${SILENT_SWEEPS_MAX * SWEEP_MS} ms`);
    }
  }
}
