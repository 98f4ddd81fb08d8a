import { expect, test } from 'vitest';
import { fromBfloat16, fromFloat16, roundTo, toBfloat16, toFloat16 } from './half-precision.ts';

test('every finite 16-bit number survives the way out and back', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const f16 = fromFloat16(bits);
    if (Number.isFinite(f16)) expect(toFloat16(f16)).toBe(bits);
    const bf16 = fromBfloat16(bits);
    if (Number.isFinite(bf16)) expect(toBfloat16(bf16)).toBe(bits);
  }
});

test('ties go to even', () => {
  expect(roundTo('f16', 1 + 2 ** -11)).toBe(1);
  expect(roundTo('f16', 1 + 3 * 2 ** -11)).toBe(1 + 2 ** -9);
  expect(roundTo('f16', 3 * 2 ** -25)).toBe(2 ** -23);
  expect(roundTo('f16', 65520)).toBe(Infinity);
  expect(roundTo('bf16', 1 + 2 ** -8)).toBe(1);
  expect(roundTo('bf16', -(1 + 3 * 2 ** -8))).toBe(-(1 + 2 ** -6));
  expect(roundTo('f32', 0.1)).toBe(Math.fround(0.1));
});
