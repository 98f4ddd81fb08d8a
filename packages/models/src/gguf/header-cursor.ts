import { readSync } from 'node:fs';
import { CheckpointError } from '../errors.ts';

const WINDOW_BYTES = 1 << 20;
/** The largest vocabularies with their merges take about 20 MB, and have a million texts. */
const HEADER_BYTES_MAX = 256 * 2 ** 20;
const ITEMS_MAX = 2 ** 23;
const TEXT_BYTES_MAX = 16 * 2 ** 20;

/** Reads numbers and texts of a file one after another, through a window, so that what a file claims costs no memory before it is
 *  there. Throws CheckpointError naming the file and what was being read. */
export class HeaderCursor {
  readonly file: string;
  readonly #fd: number;
  readonly #end: number;
  #window = Buffer.alloc(0);
  /** Where in the file the window begins. */
  #windowStart = 0;
  #at = 0;
  #itemsLeft = ITEMS_MAX;

  constructor(file: string, fd: number, fileBytes: number) {
    this.file = file;
    this.#fd = fd;
    this.#end = Math.min(fileBytes, HEADER_BYTES_MAX);
  }

  get offset(): number {
    return this.#windowStart + this.#at;
  }

  /** Bytes that a header may still have. */
  get left(): number {
    return this.#end - this.offset;
  }

  u32(what: string): number {
    return this.#take(4, what).readUInt32LE();
  }

  i32(what: string): number {
    return this.#take(4, what).readInt32LE();
  }

  u64(what: string): bigint {
    return this.#take(8, what).readBigUInt64LE();
  }

  i64(what: string): bigint {
    return this.#take(8, what).readBigInt64LE();
  }

  f32(what: string): number {
    return this.#take(4, what).readFloatLE();
  }

  f64(what: string): number {
    return this.#take(8, what).readDoubleLE();
  }

  /** Little-endian, of 1 or 2 bytes. */
  small(sizeBytes: 1 | 2, signed: boolean, what: string): number {
    const bytes = this.#take(sizeBytes, what);
    return signed ? bytes.readIntLE(0, sizeBytes) : bytes.readUIntLE(0, sizeBytes);
  }

  /** A count of things that take at least `itemBytes` each: no more than can follow. */
  count(what: string, itemBytes: number): number {
    const count = this.u64(what);
    if (count <= BigInt(Math.floor(this.left / itemBytes))) return Number(count);
    throw this.fail(`${what} is ${count}, and ${this.left} bytes follow`);
  }

  /** Counts items of arrays, which take more memory than their bytes, against what a whole header may have. */
  claimItems(count: number, what: string): void {
    this.#itemsLeft -= count;
    if (this.#itemsLeft < 0) throw this.fail(`${what} has ${count} items; a header may have ${ITEMS_MAX} in all`);
  }

  /** UTF-8 behind its length. */
  text(what: string): string {
    return this.#take(this.#textBytes(what), what).toString('utf8');
  }

  /** Passes over a text. */
  skipText(what: string): void {
    this.skip(this.#textBytes(what), what);
  }

  skip(sizeBytes: number, what: string): void {
    if (sizeBytes > this.left) throw this.#cutShort(what);
    this.#at += sizeBytes;
  }

  fail(why: string): CheckpointError {
    const { file, offset } = this;
    return new CheckpointError(
      `${file}: ${why} (at byte ${offset}); the file is damaged or no GGUF file: download it again`,
      {
        details: { file, offset },
      },
    );
  }

  #textBytes(what: string): number {
    const sizeBytes = this.count(`the length of ${what}`, 1);
    if (sizeBytes <= TEXT_BYTES_MAX) return sizeBytes;
    throw this.fail(`${what} has ${sizeBytes} bytes; a text may have ${TEXT_BYTES_MAX}`);
  }

  #cutShort(what: string): CheckpointError {
    return this.fail(`the header ends within ${what}`);
  }

  /** The next bytes, in the window: of use until the next call. */
  #take(sizeBytes: number, what: string): Buffer {
    if (sizeBytes > this.left) throw this.#cutShort(what);
    if (this.#at + sizeBytes > this.#window.length) this.#refill(sizeBytes, what);
    const bytes = this.#window.subarray(this.#at, this.#at + sizeBytes);
    this.#at += sizeBytes;
    return bytes;
  }

  #refill(sizeBytes: number, what: string): void {
    this.#windowStart = this.offset;
    this.#at = 0;
    const wanted = Math.min(Math.max(sizeBytes, WINDOW_BYTES), this.left);
    const window = Buffer.allocUnsafe(wanted);
    let filled = 0;
    while (filled < wanted) {
      const n = readSync(this.#fd, window, filled, wanted - filled, this.#windowStart + filled);
      if (n === 0) break;
      filled += n;
    }
    this.#window = window.subarray(0, filled);
    if (filled < sizeBytes) throw this.#cutShort(what);
  }
}
