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

export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

export function linear(x: Value, weight: Float32Array, bias: Float32Array | null): Value {
  const width = weight.length / x.width;
  const numRows = x.data.length / x.width;
  return rows(width, [...Array(numRows).keys()], (r, out) => {
    const from = row(x, r);
    for (let n = 0; n < width; n++)
      out[n] = dot(from, weight.subarray(n * x.width, (n + 1) * x.width)) + (bias?.[n] ?? 0);
  });
}

/** exp(x) of each over their sum. */
export function softmax(x: readonly number[]): number[] {
  const most = Math.max(...x);
  const shares = x.map((s) => Math.exp(s - most));
  const total = shares.reduce((a, b) => a + b, 0);
  return shares.map((s) => s / total);
}
