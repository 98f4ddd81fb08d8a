/** Frames between the hub and its clients: u32 length of what follows, u8 type, body; big-endian. Bodies that name a
 *  subject hold a u16 length and the subject (then, for `publish`, the same for the reply subject), then the payload. */
export const frameTypes = {
  hello: 1,
  auth: 2,
  welcome: 3,
  refused: 4,
  subscribe: 5,
  unsubscribe: 6,
  publish: 7,
  message: 8,
  noResponder: 9,
  ping: 10,
  pong: 11,
} as const;

export const LENGTH_BYTES = 4;
/** Type, and two subjects of 255 bytes with their lengths. */
export const FRAME_OVERHEAD_BYTES = 515;

export function controlFrame(type: number, body: Uint8Array = new Uint8Array(0)): Buffer {
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + 1 + body.byteLength);
  frame.writeUInt32BE(1 + body.byteLength, 0);
  frame[LENGTH_BYTES] = type;
  frame.set(body, LENGTH_BYTES + 1);
  return frame;
}

/** All but the payload of a frame with subjects. */
export function subjectFrameHead(type: number, subjects: readonly string[], payloadBytes: number): Buffer {
  let bytes = 1;
  for (const subject of subjects) bytes += 2 + subject.length;
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + bytes);
  frame.writeUInt32BE(bytes + payloadBytes, 0);
  frame[LENGTH_BYTES] = type;
  let position = LENGTH_BYTES + 1;
  for (const subject of subjects) {
    position = frame.writeUInt16BE(subject.length, position);
    position += frame.write(subject, position, 'latin1');
  }
  return frame;
}

/** Reads `count` subjects from the front of a body. @returns null when the body is too short. */
export function readSubjects(body: Buffer, count: number): { subjects: string[]; rest: Buffer } | null {
  const subjects: string[] = [];
  let position = 0;
  for (let index = 0; index < count; index++) {
    if (position + 2 > body.byteLength) return null;
    const length = body.readUInt16BE(position);
    position += 2;
    if (position + length > body.byteLength) return null;
    subjects.push(body.toString('latin1', position, position + length));
    position += length;
  }
  return { subjects, rest: body.subarray(position) };
}

/** Cuts a byte stream into frames. Memory is bounded by the frame limit, which may be raised after the handshake. */
export class FrameReader {
  frameBytesMax: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax;
  }

  /** Calls `onFrame` for each whole frame. @returns why the stream cannot go on, or null. */
  push(chunk: Buffer, onFrame: (type: number, body: Buffer) => void): string | null {
    this.#chunks.push(chunk);
    this.#bytes += chunk.byteLength;
    while (this.#bytes >= LENGTH_BYTES) {
      const length = this.#peekLength();
      if (length < 1 || length > this.frameBytesMax)
        return `a frame of ${length} bytes; the limit is ${this.frameBytesMax}`;
      if (this.#bytes < LENGTH_BYTES + length) return null;
      const frame = this.#take(LENGTH_BYTES + length);
      onFrame(frame.readUInt8(LENGTH_BYTES), frame.subarray(LENGTH_BYTES + 1));
    }
    return null;
  }

  #peekLength(): number {
    const [first] = this.#chunks;
    if (first && first.byteLength >= LENGTH_BYTES) return first.readUInt32BE(0);
    this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]?.readUInt32BE(0) ?? 0;
  }

  /** Joins chunks only when a frame spans them. */
  #take(bytes: number): Buffer {
    const [first] = this.#chunks;
    const joined = first && first.byteLength >= bytes ? first : Buffer.concat(this.#chunks);
    if (joined === first) this.#chunks.shift();
    else this.#chunks = [];
    if (joined.byteLength > bytes) this.#chunks.unshift(joined.subarray(bytes));
    this.#bytes -= bytes;
    return joined.subarray(0, bytes);
  }
}
