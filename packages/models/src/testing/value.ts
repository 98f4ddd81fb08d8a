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
  const data = new Float32Array(a.data.length);
  for (let i = 0; i < data.length; i++) data[i] = f(a.data[i] as number, b.data[i] as number);
  return { width: a.width, data };
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
    const at = r * x.width;
    // Four sums that do not wait for each other take half as long; past the last column, they are the last one's.
    for (let n = 0; n < width; n += 4) {
      const [n1, n2, n3] = [Math.min(n + 1, width - 1), Math.min(n + 2, width - 1), Math.min(n + 3, width - 1)];
      const [b0, b1, b2, b3] = [n * x.width, n1 * x.width, n2 * x.width, n3 * x.width];
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      for (let i = 0; i < x.width; i++) {
        const a = x.data[at + i] as number;
        s0 += a * (weight[b0 + i] as number);
        s1 += a * (weight[b1 + i] as number);
        s2 += a * (weight[b2 + i] as number);
        s3 += a * (weight[b3 + i] as number);
      }
      data[r * width + n] = s0 + (bias?.[n] ?? 0);
      data[r * width + n1] = s1 + (bias?.[n1] ?? 0);
      data[r * width + n2] = s2 + (bias?.[n2] ?? 0);
      data[r * width + n3] = s3 + (bias?.[n3] ?? 0);
    }
  }
  return { width, data };
}

/** exp(x) of each over their sum, in its place. */
export function softmaxInPlace(x: Float64Array): void {
  let most = -Infinity;
  for (let i = 0; i < x.length; i++) most = Math.max(most, x[i] as number);
  let total = 0;
  for (let i = 0; i < x.length; i++) total += x[i] = Math.exp((x[i] as number) - most);
  for (let i = 0; i < x.length; i++) x[i] = (x[i] as number) / total;
}
