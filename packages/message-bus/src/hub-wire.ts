import { connect as connectSocket, type Socket } from 'node:net';
import type { Identity } from '@skein/protocol';
import { CorkedSocket } from './corked-socket.ts';
import { MessageBusError } from './errors.ts';
import {
  controlFrame,
  FRAME_OVERHEAD_BYTES,
  FrameReader,
  frameTypes,
  readSubjects,
  subjectFrameHead,
} from './hub-frame.ts';
import {
  decodeHandshake,
  encodeHandshake,
  HANDSHAKE_FRAME_BYTES_MAX,
  HANDSHAKE_VERSION,
  helloSchema,
  newNonce,
  proof,
  proves,
  refusedSchema,
  type Transcript,
  welcomeSchema,
} from './hub-handshake.ts';
import type { HubAddress } from './local-hub.ts';
import type { Wire, WireEvents } from './reconnecting-carrier.ts';
import { isSubject, SubjectTable } from './subject.ts';

const HANDSHAKE_MS_MAX = 3000;
const PING_MS = 1000;
/** A hub silent for so many pings is taken for lost. */
const SILENT_PINGS_MAX = 2;

export interface HubWireOptions {
  readonly address: HubAddress;
  readonly identity: Identity;
  readonly groupKey: string | null;
}

/** A client's connection to a hub. */
export class HubWire implements Wire {
  frameBytesMax = 0;
  readonly #options: HubWireOptions;
  readonly #events: WireEvents;
  readonly #socket: Socket;
  readonly #output: CorkedSocket;
  readonly #reader = new FrameReader(HANDSHAKE_FRAME_BYTES_MAX);
  readonly #patterns = new SubjectTable<string>();
  readonly #welcomed = Promise.withResolvers<void>();
  readonly #flushes: PromiseWithResolvers<void>[] = [];
  #transcript: Transcript | null = null;
  #isWelcome = false;
  #silentPings = 0;
  #timer: NodeJS.Timeout;

  private constructor(options: HubWireOptions, events: WireEvents) {
    this.#options = options;
    this.#events = events;
    this.#socket = connectSocket(options.address);
    this.#socket.setNoDelay(true);
    this.#output = new CorkedSocket(this.#socket);
    this.#timer = setTimeout(
      () => this.#end(refusal('ERR_DISCONNECTED', `no handshake within ${HANDSHAKE_MS_MAX} ms`)),
      HANDSHAKE_MS_MAX,
    );
    this.#socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.#socket.on('error', (error) => this.#end(refusal('ERR_DISCONNECTED', error.message)));
    this.#socket.on('close', () => this.#end(refusal('ERR_DISCONNECTED', 'the hub closed the connection')));
  }

  /** @throws ERR_GROUP_KEY when either end cannot prove the key, ERR_DISCONNECTED otherwise. */
  static async dial(options: HubWireOptions, events: WireEvents): Promise<HubWire> {
    const wire = new HubWire(options, events);
    await wire.#welcomed.promise;
    return wire;
  }

  publish(subject: string, frame: Uint8Array, replyTo: string | undefined): boolean {
    const head = subjectFrameHead(frameTypes.publish, [subject, replyTo ?? ''], frame.byteLength);
    return this.#output.write([head, frame]);
  }

  subscribe(pattern: string): void {
    this.#patterns.add(pattern, pattern);
    this.#output.write([subjectFrameHead(frameTypes.subscribe, [pattern], 0)]);
  }

  unsubscribe(pattern: string): void {
    this.#patterns.delete(pattern, pattern);
    this.#output.write([subjectFrameHead(frameTypes.unsubscribe, [pattern], 0)]);
  }

  async flush(): Promise<void> {
    const flush = Promise.withResolvers<void>();
    this.#flushes.push(flush);
    this.#output.write([controlFrame(frameTypes.ping)]);
    await flush.promise;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#silentPings = 0;
    const reason = this.#reader.push(chunk, (type, body) => {
      if (this.#isWelcome) this.#onFrame(type, body);
      else this.#onHandshake(type, body);
    });
    if (reason !== null) this.#end(refusal('ERR_DISCONNECTED', `the hub sent ${reason}`));
  }

  #onFrame(type: number, body: Buffer): void {
    if (type === frameTypes.ping) {
      this.#output.write([controlFrame(frameTypes.pong)]);
    } else if (type === frameTypes.pong) {
      this.#flushes.shift()?.resolve();
    } else if (type === frameTypes.message || type === frameTypes.noResponder) {
      const read = readSubjects(body, 1);
      const subject = read?.subjects[0];
      if (!read || subject === undefined || !isSubject(subject)) return;
      const frame = type === frameTypes.message ? read.rest : null;
      for (const pattern of this.#patterns.match(subject)) this.#events.onFrame(pattern, subject, frame);
    }
  }

  #onHandshake(type: number, body: Buffer): void {
    if (type === frameTypes.hello && !this.#transcript) this.#onHello(body);
    else if (type === frameTypes.welcome && this.#transcript) this.#onWelcome(body, this.#transcript);
    else if (type === frameTypes.refused) this.#onRefused(body);
    else this.#end(refusal('ERR_DISCONNECTED', 'what answers there is no hub of this version'));
  }

  #onHello(body: Buffer): void {
    const hello = decodeHandshake(helloSchema, body);
    if (!hello || hello.version !== HANDSHAKE_VERSION) {
      this.#end(refusal('ERR_DISCONNECTED', 'what answers there is no hub of this version'));
      return;
    }
    const { identity, groupKey } = this.#options;
    const transcript = { hubNonce: hello.nonce, clientNonce: newNonce(), identity };
    this.#transcript = transcript;
    this.frameBytesMax = hello.frameBytesMax;
    const auth = { identity, nonce: transcript.clientNonce, proof: proof(groupKey, 'client', transcript) };
    this.#output.write([controlFrame(frameTypes.auth, encodeHandshake(auth))]);
  }

  #onWelcome(body: Buffer, transcript: Transcript): void {
    const welcome = decodeHandshake(welcomeSchema, body);
    if (!welcome || !proves(welcome.proof, proof(this.#options.groupKey, 'hub', transcript))) {
      this.#end(refusal('ERR_GROUP_KEY', 'the hub cannot prove the group key'));
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setInterval(() => this.#ping(), PING_MS);
    this.#isWelcome = true;
    this.#reader.frameBytesMax = this.frameBytesMax + FRAME_OVERHEAD_BYTES;
    this.#welcomed.resolve();
  }

  #onRefused(body: Buffer): void {
    const refused = decodeHandshake(refusedSchema, body);
    const code = refused?.code === 'ERR_GROUP_KEY' ? 'ERR_GROUP_KEY' : 'ERR_DISCONNECTED';
    this.#end(refusal(code, refused?.message ?? 'the hub refused without a reason'));
  }

  #ping(): void {
    this.#silentPings += 1;
    if (this.#silentPings > SILENT_PINGS_MAX) {
      this.#end(refusal('ERR_DISCONNECTED', `the hub was silent for ${SILENT_PINGS_MAX * PING_MS} ms`));
      return;
    }
    this.flush().catch(() => {});
  }

  #end(error: MessageBusError): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
    for (const flush of this.#flushes.splice(0)) flush.reject(error);
    if (this.#isWelcome) this.#events.onLost(error.message);
    else this.#welcomed.reject(error);
  }
}

function refusal(code: 'ERR_GROUP_KEY' | 'ERR_DISCONNECTED', message: string): MessageBusError {
  return new MessageBusError(code, message);
}
