import { expect, test } from 'vitest';
import { decode, encode } from './codec.ts';
import { whyUnsafeMsgpack } from './msgpack-scan.ts';
import { DEPTH_MAX } from './plain-data.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

test('what would build objects, compile readers or recurse is refused before it is decoded', () => {
  const refused: [Uint8Array, string][] = [
    [bytes(0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01), 'type 0xd4'],
    [bytes(0xd6, 0xff, 0, 0, 0, 0), 'type 0xd6'],
    [bytes(0xc7, 0x00, 0x78), 'type 0xc7'],
    [bytes(0xc1), 'type 0xc1'],
    [bytes(0x81, 0x01, 0x02), 'a map key is no string'],
    [bytes(0x81, 0x90, 0x02), 'a map key is no string'],
    [bytes(0xdd, 0xff, 0xff, 0xff, 0xff), 'cut short'],
    [bytes(0xdf, 0x7f, 0xff, 0xff, 0xff), 'cut short'],
    [bytes(0xc6, 0xff, 0xff, 0xff, 0xff, 1), 'cut short'],
    [bytes(0xcb, 1), 'cut short'],
    [bytes(), 'cut short'],
    [bytes(1, 2), '1 bytes after the value'],
    [new Uint8Array(DEPTH_MAX + 3).fill(0x91), 'nested deeper'],
    [Uint8Array.from([0xdd, 0, 0x0f, 0x42, 0x41, ...new Uint8Array(1_000_001).fill(0x90)]), 'more than 1000000 values'],
  ];
  for (const [frame, reason] of refused) {
    expect(whyUnsafeMsgpack(frame)).toContain(reason);
    expect(() => decode(frame)).toThrow(expect.objectContaining({ code: 'ERR_MALFORMED' }));
  }
});

test('what is encoded is decoded to the same, and every cut of it is refused', () => {
  const value = {
    list: [0, 127, 128, 65_536, 2 ** 40, -1, -129, -(2 ** 40), 0.1, Number.NaN, true, null],
    text: ['', 'é'.repeat(20), 'x'.repeat(300), 'y'.repeat(70_000)],
    binary: [new Uint8Array(0), new Uint8Array(300).fill(7), new Uint8Array(70_000)],
    many: Array.from({ length: 70_000 }, (_, index) => index % 100),
    object: Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`key${index}`, { index }])),
  };
  const frame = encode(value);
  expect(decode(frame)).toEqual(value);
  for (let length = 0; length < frame.byteLength; length += 997) {
    expect(whyUnsafeMsgpack(frame.subarray(0, length))).toBe('cut short');
  }
});

test('a prototype cannot be set from outside', () => {
  const frame = bytes(0x81, 0xa9, ...Buffer.from('__proto__'), 0x81, 0xa1, 0x61, 0x01);
  const decoded = decode(frame) as { a?: unknown };
  expect(decoded.a).toBeUndefined();
  expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
});

test('no bytes make the decoder throw anything but ERR_MALFORMED', () => {
  let seed = 7;
  const random = (max: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * max);
  };
  const good = encode({ a: [1, 'two', new Uint8Array(3), { b: null }], c: 1.5 });
  for (let round = 0; round < 50_000; round++) {
    const frame = random(2) === 0 ? Uint8Array.from({ length: random(40) }, () => random(256)) : good.slice();
    for (let flips = random(4); flips > 0; flips--) frame[random(frame.length)] = random(256);
    try {
      decode(frame);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_MALFORMED' });
    }
  }
});
