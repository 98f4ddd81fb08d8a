import { expect, it } from 'vitest';
import { SlotPool } from './slot-pool.ts';

it('gives a slot again only after every step that mentions it has finished', () => {
  const slots = new SlotPool(2);
  const [a, b] = [slots.acquire(), slots.acquire()];
  slots.release(a, 4);
  expect([slots.numFree, slots.numLeaving]).toEqual([0, 1]);
  slots.stepFinished(3);
  expect(slots.numFree).toBe(0);
  slots.stepFinished(4);
  expect(slots.acquire()).toBe(a);
  slots.release(b, 2);
  expect(slots.acquire()).toBe(b);
});
