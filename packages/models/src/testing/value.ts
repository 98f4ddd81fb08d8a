/** f32 [rows, width], without padding. */
export interface Value {
  readonly width: number;
  readonly data: Float32Array;
}

export function fail(why: string): never {
  throw new Error(`program interpreter: ${why}`);
}

export function row(x: Value, r: number): Float32Array {
  return x.data.subarray(r * x.width, (r + 1) * x.width);
}

/** One row for each of `of`, filled by `fill`. */
export function rows(
  width: number,
  of: readonly number[],
  fill: (item: number, out: Float32Array, index: number) => void,
): Value {
  const out = { width, data: new Float32Array(of.length * width) };
  for (const [i, item] of of.entries()) fill(item, row(out, i), i);
  return out;
}

export function zip(a: Value, b: Value, f: (a: number, b: number) => number): Value {
  return { width: a.width, data: a.data.map((x, i) => f(x, b.data[i] ?? 0)) };
}

/** Values with the same rows as one. */
export function besides(parts: readonly Value[]): Value {
  const width = parts.reduce((sum, part) => sum + part.width, 0);
  const [first] = parts;
  const numRows = first === undefined ? 0 : first.data.length / first.width;
  return rows(width, [...Array(numRows).keys()], (r, out) => {
    let at = 0;
    for (const part of parts) {
      out.set(row(part, r), at);
      at += part.width;
    }
  });
}

/** Of each element the one that is not zero. */
export function pickBits(parts: readonly Float32Array[]): Float32Array {
  const words = parts.map((part) => new Uint32Array(part.buffer, part.byteOffset, part.length));
  const [first = new Uint32Array()] = words;
  const picked = first.map((_, i) => words.reduce((bits, part) => bits | (part[i] ?? 0), 0));
  return new Float32Array(picked.buffer);
}

export function dot(a: Float32Array, b: Float32Array): number {
  return dotAt(a, 0, b, 0, a.length);
}

/** Of `count` elements each, from `aAt` and `bAt` on: making views of them costs more than a short sum. */
export function dotAt(a: Float32Array, aAt: number, b: Float32Array, bAt: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += (a[aAt + i] as number) * (b[bAt + i] as number);
  return sum;
}

export function linear(x: Value, weight: Float32Array, bias: Float32Array | null): Value {
  const width = weight.length / x.width;
  const numRows = x.data.length / x.width;
  const data = new Float32Array(numRows * width);
  for (let r = 0; r < numRows; r++) {
    for (let n = 0; n < width; n++)
      data[r * width + n] = dotAt(x.data, r * x.width, weight, n * x.width, x.width) + (bias?.[n] ?? 0);
  }
  return { width, data };
}

/** exp(x) of each over their sum. */
export function softmax(x: readonly number[]): number[] {
  const most = Math.max(...x);
  const shares = x.map((s) => Math.exp(s - most));
  const total = shares.reduce((a, b) => a + b, 0);
  return shares.map((s) => s / total);
}
