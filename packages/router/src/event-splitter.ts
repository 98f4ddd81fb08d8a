const empty = Buffer.alloc(0);

/** Cuts a byte stream of server-sent events so that only whole events go on: if the leader dies inside one, the client has
 *  seen none of it, and an error event can follow. */
export class EventSplitter {
  readonly #maxBytes: number;
  #tail: Buffer = empty;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @returns the whole events so far not returned; empty when there is none. Throws when one event passes the limit. */
  add(chunk: Buffer): Buffer {
    const bytes = this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk]);
    const end = bytes.lastIndexOf('\n\n');
    this.#tail = end < 0 ? bytes : bytes.subarray(end + 2);
    if (this.#tail.length > this.#maxBytes) throw new RangeError(`an event is larger than ${this.#maxBytes} bytes`);
    return end < 0 ? empty : bytes.subarray(0, end + 2);
  }

  /** What is left when the stream has ended. */
  end(): Buffer {
    const rest = this.#tail;
    this.#tail = empty;
    return rest;
  }
}
