import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CheckpointError } from '../errors.ts';
import { encodeGgml } from './ggml-encode.ts';
import { writeGguf } from './gguf-writer.ts';
import { readGguf } from './read-gguf.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'skein-gguf-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

let counter = 0;
const newFile = () => join(dir, `${counter++}.gguf`);

const u32 = (n: number): number[] => [...new Uint8Array(Uint32Array.of(n).buffer)];
const u64 = (n: bigint | number): number[] => [...new Uint8Array(BigUint64Array.of(BigInt(n)).buffer)];
const text = (t: string): number[] => [...u64(Buffer.byteLength(t)), ...Buffer.from(t)];
const array = (type: number, count: bigint | number, ...items: number[]): number[] => [
  ...u32(type),
  ...u64(count),
  ...items,
];

interface Raw {
  readonly magic?: string;
  readonly version?: number;
  /** Key and the bytes from its type on. */
  readonly values?: readonly (readonly [string, readonly number[]])[];
  readonly numValues?: bigint | number;
  /** Name and the bytes behind it. */
  readonly tensors?: readonly (readonly [string, readonly number[]])[];
  readonly numTensors?: bigint | number;
  readonly dataBytes?: number;
}

function raw({ values = [], tensors = [], ...rest }: Raw): string {
  const header = [
    ...Buffer.from(rest.magic ?? 'GGUF'),
    ...u32(rest.version ?? 3),
    ...u64(rest.numTensors ?? tensors.length),
    ...u64(rest.numValues ?? values.length),
    ...[...values, ...tensors].flatMap(([name, bytes]) => [...text(name), ...bytes]),
  ];
  const file = newFile();
  const data = Buffer.alloc(rest.dataBytes ?? 64);
  writeFileSync(file, Buffer.concat([Buffer.from(header), Buffer.alloc((32 - (header.length % 32)) % 32), data]));
  return file;
}

/** Dimensions innermost first, type, offset. */
const info = (dims: readonly (bigint | number)[], type: number, offset: bigint | number): number[] => [
  ...u32(dims.length),
  ...dims.flatMap(u64),
  ...u32(type),
  ...u64(offset),
];

async function sample(): Promise<string> {
  const file = newFile();
  const values = Float32Array.from({ length: 64 }, (_, i) => i / 7 - 4);
  await writeGguf(
    file,
    {
      metadata: {
        'general.architecture': ['string', 'llama'],
        numbers: ['i16[]', [-1, 0, 300]],
        'tokenizer.ggml.tokens': ['string[]', ['a', '', 'ü']],
        flags: ['bool[]', [true, false]],
        big: ['u64', 2 ** 40],
        small: ['i8', -5],
        ratio: ['f64', 0.1],
      },
      tensors: [
        { name: 'q', dtype: 'q8_0', shape: [2, 32], chunks: () => [encodeGgml('q8_0', values)] },
        { name: 'f', dtype: 'f32', shape: [3], chunks: () => [encodeGgml('f32', values.subarray(0, 3))] },
      ],
    },
    { signal: null },
  );
  return file;
}

test('what the writer writes, the reader finds', async () => {
  const file = await sample();
  const { metadata, tensors } = readGguf(file);
  expect(Object.fromEntries(metadata)).toEqual({
    'general.architecture': 'llama',
    numbers: [-1, 0, 300],
    'tokenizer.ggml.tokens': ['a', '', 'ü'],
    flags: [true, false],
    big: 2 ** 40,
    small: -5,
    ratio: 0.1,
  });
  const start = tensors.get('q')?.offsetBytes ?? -1;
  expect(start % 32).toBe(0);
  expect([...tensors.values()]).toEqual([
    { name: 'q', file, offsetBytes: start, sizeBytes: 68, dtype: 'q8_0', shape: [2, 32] },
    { name: 'f', file, offsetBytes: start + 96, sizeBytes: 12, dtype: 'f32', shape: [3] },
  ]);
  const withoutArrays = readGguf(file, { arrays: false });
  expect(withoutArrays.tensors).toEqual(tensors);
  expect(withoutArrays.metadata.get('tokenizer.ggml.tokens')).toEqual([]);
  expect(withoutArrays.metadata.get('ratio')).toBe(0.1);
});

test('arrays in arrays, version 2 and an alignment of its own', () => {
  const nested = [...u32(9), ...array(9, 2, ...array(4, 1, ...u32(7)), ...array(8, 1, ...text('x')))];
  const file = raw({
    version: 2,
    values: [
      ['general.alignment', [...u32(4), ...u32(64)]],
      ['nested', nested],
      ['huge', [...u32(10), ...u64(2n ** 63n)]],
    ],
    tensors: [['t', info([2, 3], 0, 0)]],
    dataBytes: 128,
  });
  const { metadata, tensors } = readGguf(file);
  expect(metadata.get('nested')).toEqual([[7], ['x']]);
  expect(metadata.get('huge')).toBe(2n ** 63n);
  expect(tensors.get('t')).toMatchObject({ shape: [3, 2], sizeBytes: 24 });
  expect((tensors.get('t')?.offsetBytes ?? 1) % 64).toBe(0);
});

const deep = (depth: number): number[] => (depth === 0 ? array(4, 0) : array(9, 1, ...deep(depth - 1)));

test.each<[string, Raw, string]>([
  ['another kind of file', { magic: 'GGML' }, 'does not begin with GGUF'],
  ['version 1', { version: 1 }, 'has version 1; served are 2 and 3'],
  ['a big-endian file', { version: 0x03000000 }, 'which is how a big-endian file looks'],
  ['more values than bytes', { numValues: 2n ** 62n }, 'the number of values is 4611686018427387904'],
  ['more tensors than bytes', { numTensors: 1000 }, 'the number of tensors is 1000'],
  ['a value cut short', { values: [['k'.repeat(28), u32(10)]], dataBytes: 4 }, 'the header ends within kkkk'],
  ['an unknown value type', { values: [['k', u32(13)]] }, 'k has type 13; there are 0 to 12'],
  [
    'a text longer than the file',
    { values: [['k', [...u32(8), ...u64(2n ** 40n)]]] },
    'the length of k is 1099511627776',
  ],
  ['an array longer than the file', { values: [['k', [...u32(9), ...array(4, 2n ** 50n)]]] }, 'the length of k is'],
  ['arrays without end', { values: [['k', [...u32(9), ...deep(5)]]] }, 'k has arrays in arrays more than 4 deep'],
  ['a bool of 2', { values: [['k', [...u32(7), 2]]] }, 'k is 2, and a bool is 0 or 1'],
  [
    'a key twice',
    {
      values: [
        ['k', [...u32(7), 1]],
        ['k', [...u32(7), 1]],
      ],
    },
    'has key k twice',
  ],
  ['an empty key', { values: [['', [...u32(7), 1]]] }, 'a key whose name has 0 characters'],
  ['an odd alignment', { values: [['general.alignment', [...u32(4), ...u32(48)]]] }, 'general.alignment is 48'],
  ['an alignment of 0', { values: [['general.alignment', [...u32(4), ...u32(0)]]] }, 'general.alignment is 0'],
  [
    'a tensor twice',
    {
      tensors: [
        ['t', info([4], 0, 0)],
        ['t', info([4], 0, 32)],
      ],
    },
    'has tensor t twice',
  ],
  ['five dimensions', { tensors: [['t', info([1, 1, 1, 1, 1], 0, 0)]] }, 'tensor t has 5 dimensions'],
  ['a dimension of 0', { tensors: [['t', info([4, 0], 0, 0)]] }, 'tensor t has a dimension of 0'],
  [
    'a dimension beyond numbers',
    { tensors: [['t', info([2n ** 60n], 0, 0)]] },
    'has a dimension of 1152921504606846976',
  ],
  ['a size beyond numbers', { tensors: [['t', info([2 ** 40, 2 ** 40], 0, 0)]] }, 'is beyond any file'],
  [
    'a type that is not served',
    { tensors: [['t', info([256], 10, 0)]] },
    'tensor t has type Q2_K; served are F32, F16, BF16, Q8_0',
  ],
  ['a type that nobody knows', { tensors: [['t', info([256], 99, 0)]] }, 'tensor t has type 99; served are'],
  ['a row of half a block', { tensors: [['t', info([48], 8, 0)]] }, 'rows that are no whole Q8_0 blocks of 32'],
  ['a tensor past the end', { tensors: [['t', info([32], 0, 0)]] }, 'takes 128 bytes at 0 of 64 data bytes'],
  [
    'an offset past the end',
    { tensors: [['t', info([1], 0, 2n ** 63n)]] },
    'takes 4 bytes at 9223372036854775808 of 64',
  ],
  ['an unaligned tensor', { tensors: [['t', info([1], 0, 4)]] }, 'lies at 4, which is no multiple of 32'],
  [
    'tensors that overlap',
    {
      tensors: [
        ['t', info([9], 0, 0)],
        ['u', info([1], 0, 32)],
      ],
    },
    'tensors t and u overlap',
  ],
])('%s is refused', (_what, content, message) => {
  const file = raw(content);
  expect(() => readGguf(file)).toThrow(CheckpointError);
  expect(() => readGguf(file)).toThrow(message);
  expect(() => readGguf(file)).toThrow(file);
});

test('a file that is not there is named', () => {
  expect(() => readGguf(join(dir, 'none.gguf'))).toThrow(/none\.gguf: cannot be read as GGUF \(ENOENT/);
});

test('damaged files give typed errors, at once', async () => {
  const whole = readFileSync(await sample());
  const file = newFile();
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let refused = 0;
  for (let n = 0; n < 600; n++) {
    const bytes = Buffer.from(whole);
    for (let flips = 1 + random(4); flips > 0; flips--)
      bytes[random(bytes.length)] = random(3) === 0 ? 255 : random(256);
    writeFileSync(file, bytes);
    if (random(4) === 0) truncateSync(file, random(bytes.length));
    try {
      readGguf(file, { arrays: random(2) === 0 });
    } catch (error) {
      expect(error).toBeInstanceOf(CheckpointError);
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(300);
});
