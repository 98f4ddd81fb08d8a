import type { Socket } from 'node:net';
import type { Identity } from '@skein/protocol';
import { MessageBusError } from './errors.ts';
import { controlFrame, FrameReader, frameTypes } from './hub-frame.ts';
import {
  authSchema,
  decodeHandshake,
  encodeHandshake,
  HANDSHAKE_FRAME_BYTES_MAX,
  HANDSHAKE_VERSION,
  helloSchema,
  newNonce,
  proof,
  proves,
  welcomeSchema,
} from './hub-handshake.ts';
import { untilAborted } from './until-aborted.ts';

export interface ProofOptions {
  /** Null: both ends have none. */
  readonly groupKey: string | null;
  /** What the connection is for, the same at both ends: a word that no other kind of connection has. */
  readonly purpose: string;
  /** Of the whole handshake. */
  readonly signal: AbortSignal;
}

/** The listening end of the hub's handshake, on a socket that is to carry something else: each end proves the group key to
 *  the other. Afterwards the socket is paused and nothing of what follows has been read. The caller closes it, whatever comes.
 *  @returns who is at the other end. @throws ERR_GROUP_KEY, ERR_MALFORMED, ERR_DISCONNECTED or the signal's reason. */
export async function acceptProof(socket: Socket, options: ProofOptions): Promise<Identity> {
  const { groupKey, purpose, signal } = options;
  const hubNonce = newNonce();
  // The schema asks for a size of frames; what follows has none of the hub's.
  const hello = { version: HANDSHAKE_VERSION, nonce: hubNonce, frameBytesMax: 4096 } as const;
  socket.write(controlFrame(frameTypes.hello, encodeHandshake(hello)));
  const auth = await nextMessage(socket, { type: frameTypes.auth, schema: authSchema, signal });
  const transcript = { hubNonce, clientNonce: auth.nonce, identity: auth.identity };
  if (!proves(auth.proof, proof(groupKey, 'client', transcript, purpose)))
    throw new MessageBusError('ERR_GROUP_KEY', `${auth.identity.name} has another group key`);
  const welcome = { proof: proof(groupKey, 'hub', transcript, purpose) };
  socket.write(controlFrame(frameTypes.welcome, encodeHandshake(welcome)));
  return auth.identity;
}

/** The dialling end; see acceptProof. */
export async function offerProof(
  socket: Socket,
  options: ProofOptions & { readonly identity: Identity },
): Promise<void> {
  const { groupKey, purpose, identity, signal } = options;
  const hello = await nextMessage(socket, { type: frameTypes.hello, schema: helloSchema, signal });
  const transcript = { hubNonce: hello.nonce, clientNonce: newNonce(), identity };
  const auth = {
    identity,
    nonce: transcript.clientNonce,
    proof: proof(groupKey, 'client', transcript, purpose),
  };
  socket.write(controlFrame(frameTypes.auth, encodeHandshake(auth)));
  const welcome = await nextMessage(socket, { type: frameTypes.welcome, schema: welcomeSchema, signal });
  if (!proves(welcome.proof, proof(groupKey, 'hub', transcript, purpose)))
    throw new MessageBusError('ERR_GROUP_KEY', 'the other end has another group key');
}

interface Expected<T> {
  readonly type: number;
  readonly schema: Parameters<typeof decodeHandshake<T>>[0];
  readonly signal: AbortSignal;
}

/** Neither end sends twice in turn, so that a frame is all that can have come. */
async function nextMessage<T>(socket: Socket, { type, schema, signal }: Expected<T>): Promise<T> {
  const reader = new FrameReader(HANDSHAKE_FRAME_BYTES_MAX);
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  // The signal may end the wait first.
  promise.catch(() => {});
  const malformed = (): void => reject(new MessageBusError('ERR_MALFORMED', 'no handshake of this version'));
  const onData = (chunk: Buffer): void => {
    const fault = reader.push(chunk, (got, body) => {
      const message = got === type ? decodeHandshake(schema, body) : null;
      if (message === null) malformed();
      else resolve(message);
    });
    if (fault !== null) malformed();
  };
  const onError = (error: Error): void =>
    reject(new MessageBusError('ERR_DISCONNECTED', error.message, { cause: error }));
  const onClose = (): void =>
    reject(new MessageBusError('ERR_DISCONNECTED', 'the other end closed the connection during the handshake'));
  socket.on('data', onData).on('error', onError).on('close', onClose);
  socket.resume();
  try {
    return await untilAborted(promise, signal);
  } finally {
    socket.pause();
    socket.off('data', onData).off('error', onError).off('close', onClose);
  }
}
